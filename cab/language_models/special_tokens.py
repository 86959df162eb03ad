"""Which tokens of a Hugging Face tokenizer begin and end a text."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cab.errors import CabError

CONFIG = "tokenizer_config.json"
ENDS = ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>", "[SEP]")
"""Tokens that end a text where no configuration names one."""


@dataclass(frozen=True)
class SpecialTokens:
    """prefix stands before a text without a context, end after a text; all holds every one."""

    prefix: int
    end: int
    all: frozenset[int]


def special_tokens(fast: Any, name: str) -> SpecialTokens:
    """Find the special tokens of a tokenizer as lm-eval's own models do.

    The configuration beside its tokenizer.json names `eos_token`, the end, and `bos_token`, the
    prefix; without the latter the end is the prefix.

    Args:
        fast: a `tokenizers.Tokenizer`.
        name: its file, its folder, or its name on the hub.

    Raises:
        CabError: no token ends a text, or the configuration cannot be read.
    """
    named = _named(name)
    texts = (named["eos_token"],) if "eos_token" in named else ENDS
    ends = [number for text in texts if (number := fast.token_to_id(text)) is not None]
    if not ends:
        raise CabError(f"--tokenizer {name} has no end-of-text token (one of {', '.join(texts)}).")
    begin = fast.token_to_id(named["bos_token"]) if "bos_token" in named else None
    prefix = ends[0] if begin is None else begin
    added = fast.get_added_tokens_decoder().items()
    special = {number for number, one in added if one.special}
    return SpecialTokens(prefix, ends[0], frozenset({prefix, ends[0], *special}))


def _named(name: str) -> dict[str, str]:
    """The texts of the tokens that the configuration names, by their part."""
    try:
        path = _config(name)
        document = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        found = {part: document.get(part) for part in ("bos_token", "eos_token")}
    except (OSError, ValueError, AttributeError) as error:
        raise CabError(f"--tokenizer {name}: its {CONFIG} cannot be read: {error}.") from None
    texts = {
        part: one.get("content") if isinstance(one, dict) else one for part, one in found.items()
    }
    return {part: text for part, text in texts.items() if isinstance(text, str)}


def _config(name: str) -> Path | None:
    """The configuration beside a local tokenizer.json, or that of a tokenizer on the hub."""
    path = Path(name)
    if path.exists():
        config = (path if path.is_dir() else path.parent) / CONFIG
        return config if config.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, CONFIG))
    except EntryNotFoundError:
        return None
