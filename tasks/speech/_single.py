"""Single spoken words at a random position of a window."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cab.task import choose
from cab.tasks.speech._recordings import WORDS_IN_ALL, Hearing, Recordings


@dataclass(frozen=True)
class Window:
    """A window of `tokens`, in which one recording is heard, and silence before and after it."""

    tokens: int
    hearing: Hearing

    def __post_init__(self) -> None:
        if self.tokens < self.hearing.longest:
            raise ValueError("the window must be at least as long as the longest recording")


def place(
    recordings: Recordings, chosen: Tensor, window: Window, generator: torch.Generator
) -> Tensor:
    """Return windows (B, tokens, features) with the recordings `chosen` (B,) at random places.

    At a fixed position, each token would contain a known part of the word, and no token would need
    another. Silence is zero, the mean of all training tokens.
    """
    lengths = recordings.lengths[chosen]
    tokens = recordings.tokens[chosen]
    room = window.tokens - lengths + 1
    begin = (torch.rand(len(chosen), generator=generator) * room).long()
    windows = tokens.new_zeros(len(chosen), window.tokens, tokens.shape[2])
    said = torch.arange(tokens.shape[1]) < lengths[:, None]
    row, token = said.nonzero(as_tuple=True)
    windows[row, begin[row] + token] = tokens[row, token]
    return windows


def pick_word(
    recordings: Recordings, count: int, generator: torch.Generator, *, in_turn: bool
) -> Tensor:
    """Choose recordings (count,): every word as often, or every recording in turn."""
    if in_turn:
        return torch.arange(count) % len(recordings.words)
    table = recordings.table
    speakers, _, takes = table.shape
    which = [choose(count, size, generator) for size in (speakers, WORDS_IN_ALL, takes)]
    return table[which[0], which[1], which[2]]
