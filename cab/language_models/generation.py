"""The generation settings of a task of lm-evaluation-harness, read as its own models read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cab.errors import CabError

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Names of the greatest length of an answer; the first that is given counts."""
DEFAULT_LENGTH = 256
"""Tokens of an answer at most where a task says nothing, as in lm-eval; half the context if that
is less."""
READ = frozenset({"until", "do_sample", "temperature", *LENGTHS})
SAMPLING_ONLY = frozenset({"top_p", "top_k", "min_p", "typical_p"})
"""Settings that change nothing in greedy decoding."""
GREEDY: Mapping[str, float] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
}
"""Settings that change nothing if they have this value."""


@dataclass(frozen=True)
class Generation:
    """How answers are generated.

    Attributes:
        most: tokens of an answer at most.
        ends: texts that end an answer, in the task's order; none is empty.
    """

    most: int
    ends: tuple[str, ...]

    def ended(self, text: str) -> bool:
        """Return whether an answer, special tokens included, holds a text that ends it."""
        return any(end in text for end in self.ends)

    def cut(self, text: str) -> str:
        """Cut an answer before each text that ends it, in their order."""
        for end in self.ends:
            text = text.partition(end)[0]
        return text


def read_generation(options: Mapping[str, Any], max_length: int, end: str) -> Generation:
    """Read the `generation_kwargs` of a task.

    `do_sample: false` decodes greedily at any temperature. Empty stop texts are ignored.

    Args:
        options: the task's settings.
        max_length: tokens that the model takes, of a prompt and its answer together.
        end: the text of the token that ends a text; it ends an answer too.

    Raises:
        CabError: the task samples, asks for more tokens than the model takes, or has a setting
            that greedy decoding does not know.
    """
    given = {name: value for name, value in options.items() if value is not None}
    sampled = given.get("do_sample", _number(given, "temperature", 0.0) > 0)
    if sampled:
        raise CabError("The task samples its answers, but `cab lm-eval` only decodes greedily.")
    for name in sorted(given.keys() - READ - SAMPLING_ONLY):
        if name not in GREEDY or given[name] != GREEDY[name]:
            raise CabError(
                f"The task generates with {name} = {given[name]!r}, but `cab lm-eval` decodes "
                f"greedily and knows only {', '.join(sorted(READ))}. Remove {name} from the "
                f"task's generation_kwargs."
            )
    default = min(DEFAULT_LENGTH, max(1, max_length // 2))
    most = int(next((_number(given, name) for name in LENGTHS if name in given), default))
    if most < 1:
        raise CabError(f"The task generates {most} tokens; an answer has at least 1.")
    if most >= max_length:
        raise CabError(
            f"The task generates up to {most} tokens, but the model takes at most "
            f"{max_length} with the prompt. Increase it with --max-length."
        )
    until = given.get("until", ())
    texts = until if isinstance(until, list | tuple) else (until,)
    for text in texts:
        if not isinstance(text, str):
            raise CabError(f"The task's stop text {text!r} (in `until`) is not a text; quote it.")
    return Generation(most, tuple(dict.fromkeys(text for text in (*texts, end) if text)))


def _number(given: Mapping[str, Any], name: str, default: float = 0.0) -> float:
    value = given.get(name, default)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise CabError(f"The task's {name} is {value!r}, which is not a number.") from None
