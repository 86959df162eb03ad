"""Language models of CAB behind lm-evaluation-harness (Gao et al., https://zenodo.org/records/12608602).

Its response cache is keyed by the request and not by the model, and stays off.
"""

import math
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor, nn

from cab.backbones.stepping import can_step, start, step
from cab.errors import CabError
from cab.language_models.generation import Generation, read_generation
from cab.language_models.special_tokens import special_tokens
from cab.running.trained import TrainedCell
from cab.seeding import generator

Following = Generator[Tensor, Tensor, None]
"""Yields the logits (B, V) of the next token, and is sent the tokens that were chosen."""

Pair = tuple[tuple[str, str], list[int], list[int]]
"""The texts of a context and its continuation, and the tokens of both."""


class Tokenizer(Protocol):
    """Text to tokens and back.

    prefix stands before a text without a context; end is the token that ends a text; special
    holds the tokens that are not part of a text.
    """

    name: str
    vocabulary: int
    prefix: int
    end: int
    special: frozenset[int]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; none is added before or after it."""

    def decode(self, tokens: list[int], *, special: bool = False) -> str:
        """Return the text of some tokens, with that of special ones if wanted."""


class ByteTokenizer:
    """The bytes of UTF-8. A newline stands before a text, and the byte 0 ends it."""

    name = "bytes"
    vocabulary = 256
    prefix = 10
    end = 0
    special: frozenset[int] = frozenset()

    def encode(self, text: str) -> list[int]:
        """Return the bytes."""
        return list(text.encode())

    def decode(self, tokens: list[int], *, special: bool = False) -> str:
        """Return the text, with a mark for what is no UTF-8."""
        return bytes(tokens).decode(errors="replace")


class HubTokenizer:
    """A tokenizer of the Hugging Face library `tokenizers`: a tokenizer.json, or a hub name.

    Raises:
        CabError: it cannot be read, or names no token that ends a text.
    """

    def __init__(self, name: str) -> None:
        from tokenizers import Tokenizer as Fast

        path = Path(name)
        path = path / "tokenizer.json" if path.is_dir() else path
        try:
            self._fast = Fast.from_file(str(path)) if path.exists() else Fast.from_pretrained(name)
        except Exception as error:  # the library raises Exception itself
            raise CabError(f"--tokenizer {name} cannot be read: {error}.") from None
        self.name, self.vocabulary = name, self._fast.get_vocab_size()
        found = special_tokens(self._fast, name)
        self.prefix, self.end, self.special = found.prefix, found.end, found.all

    def encode(self, text: str) -> list[int]:
        """Return the tokens."""
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: list[int], *, special: bool = False) -> str:
        """Return the text."""
        return str(self._fast.decode(tokens, skip_special_tokens=not special))


class DecoderLM(TemplateLM):  # type: ignore[misc]
    """A trained decoder as a language model of lm-eval.

    It generates through `step` where every mixer of the decoder has a state, else by computing
    all tokens anew for each; the two give the same text.

    Args:
        trained: a cell whose model gives logits (B, N, V) of the next token.
        tokenizer: its vocabulary is the model's.
        max_length: tokens of context at most; that of training if None.
        batch_size: sequences at once.

    Raises:
        CabError: the model is no decoder, or of another vocabulary than the tokenizer.
    """

    def __init__(
        self,
        trained: TrainedCell,
        tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        batch_size: int = 16,
        device: str = "cpu",
        by_step: bool | None = None,
    ) -> None:
        super().__init__()
        cell, model = trained.cell, trained.model
        probe = trained.task.draw("valid", 1, generator("length"))
        vocabulary = getattr(getattr(model, "head", None), "out_features", None)
        if cell.task.backbone != "decoder" or vocabulary is None or probe["inputs"].dim() != 2:
            raise CabError(f"{cell.title} is not a language model: it has no decoder over tokens.")
        if vocabulary != tokenizer.vocabulary:
            raise CabError(
                f"The model of {cell.title} has a vocabulary of {vocabulary} tokens, but the "
                f"tokenizer {tokenizer.name} has {tokenizer.vocabulary}. Choose the tokenizer of "
                f"its training with --tokenizer, or another --task."
            )
        self.model = model.to(device).eval()
        self.codec, self.batch_size, self._device = tokenizer, batch_size, device
        self.max_length = probe["inputs"].shape[1] if max_length is None else max_length
        self.by_step = can_step(model) if by_step is None else by_step

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.codec.end

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without a context."""
        return self.codec.prefix

    @property
    def tokenizer_name(self) -> str:
        """Which tokenizer it is."""
        return self.codec.name

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Return a text's tokens; there are no special ones."""
        return self.codec.encode(string)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return each continuation's log-likelihood in nats, and whether it is the greedy one.

        Raises:
            CabError: a continuation has no token of its own.
        """
        return self._loglikelihood_tokens([self._pair(*request.args) for request in requests])

    def _pair(self, context: str, continuation: str) -> Pair:
        before, after = [], self.tok_encode(continuation)
        if context:
            before, after = self._encode_pair(context, continuation)
        elif after[:1] == [self.prefix_token_id] and self.prefix_token_id in self.codec.special:
            before, after = after[:1], after[1:]
        if not after:
            raise CabError(
                f"The answer {continuation!r} after the context {context[-40:]!r} has no token of "
                f"its own (tokenizer {self.codec.name}), so it has no likelihood. Change the "
                f"choices of the task, or its target_delimiter."
            )
        return (context, continuation), before or [self.prefix_token_id], after

    @torch.no_grad()
    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """Return each continuation's log-likelihood in nats, and whether it is the greedy one."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        order = sorted(range(len(requests)), key=lambda i: -len(requests[i][1] + requests[i][2]))
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            rows = [self._cut(requests[i][1], requests[i][2]) for i in chosen]
            # Padding stands on the right, where a causal model's earlier answers never see it.
            inputs = nn.utils.rnn.pad_sequence(
                [torch.tensor(row[:-1]) for row in rows], batch_first=True
            )
            logits = self.model(inputs.to(self._device)).float().cpu()
            for place, row, scores in zip(chosen, rows, logits, strict=True):
                asked = torch.tensor(requests[place][2])
                found[place] = _score(scores[len(row) - 1 - len(asked) : len(row) - 1], asked)
        return found

    def _cut(self, context: list[int], continuation: list[int]) -> list[int]:
        if len(continuation) > self.max_length:
            raise CabError(
                f"A continuation has {len(continuation)} tokens, but the model takes at most "
                f"{self.max_length}. Increase it with --max-length."
            )
        return (context + continuation)[-self.max_length - 1 :]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood in nats of whole texts, in windows that do not overlap.

        Each window of `max_length` tokens is predicted from the token before it on.
        """
        pairs: list[Pair] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            tokens = self.tok_encode(text)
            for window in get_rolling_token_windows(
                tokens, self.prefix_token_id, self.max_length, 1
            ):
                pairs.append((("", ""), *make_disjoint_window(window)))
                owners.append(number)
        parts: list[list[float]] = [[] for _ in requests]
        for owner, (value, _) in zip(owners, self._loglikelihood_tokens(pairs), strict=True):
            parts[owner].append(value)
        return [math.fsum(part) for part in parts]

    @torch.no_grad()
    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Return what greedy decoding gives, up to the first of the texts that end it."""
        answers: list[str] = [""] * len(requests)
        groups: dict[tuple[int, Generation], list[int]] = {}
        prompts: list[list[int]] = []
        end = self.codec.decode([self.eot_token_id], special=True)
        for number, request in enumerate(requests):
            text, options = request.args
            how = read_generation(options, self.max_length, end)
            prompt = self.tok_encode(text) or [self.prefix_token_id]
            prompts.append(prompt[-(self.max_length - how.most) :])
            groups.setdefault((len(prompts[-1]), how), []).append(number)
        for (_, how), members in groups.items():
            for first in range(0, len(members), self.batch_size):
                chosen = members[first : first + self.batch_size]
                batch = torch.tensor([prompts[i] for i in chosen], device=self._device)
                texts = self._generate(batch, how)
                for number, text in zip(chosen, texts, strict=True):
                    answers[number] = text
        return answers

    def _generate(self, prompts: Tensor, how: Generation) -> list[str]:
        following = self._stepping(prompts) if self.by_step else self._recomputing(prompts)
        logits = next(following)
        written: list[list[int]] = [[] for _ in prompts]
        done = [False] * len(prompts)
        for _ in range(how.most):
            tokens = logits.argmax(dim=-1)
            for row, token in enumerate(tokens.tolist()):
                if not done[row]:
                    done[row] = token == self.eot_token_id
                    written[row] += [] if done[row] else [token]
                    text = self.codec.decode(written[row], special=True)
                    done[row] = done[row] or how.ended(text)
            if all(done):
                break
            logits = following.send(tokens)
        return [how.cut(self.codec.decode(tokens)) for tokens in written]

    def _stepping(self, prompts: Tensor) -> Following:
        state = start(self.model, len(prompts))  # type: ignore[arg-type]
        for tokens in prompts.T:
            logits, state = step(self.model, tokens, state)  # type: ignore[arg-type]
        while True:
            logits, state = step(self.model, (yield logits), state)  # type: ignore[arg-type]

    def _recomputing(self, prompts: Tensor) -> Following:
        while True:
            tokens = yield self.model(prompts)[:, -1]
            prompts = torch.cat((prompts, tokens[:, None]), dim=1)


def _score(logits: Tensor, asked: Tensor) -> tuple[float, bool]:
    """The log-likelihood of tokens under their logits (N, V), and whether each is the greedy."""
    nats = F.cross_entropy(logits.double(), asked, reduction="sum").item()
    return -nats, bool((logits.argmax(dim=-1) == asked).all())
