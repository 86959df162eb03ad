"""Masking of tokens, as in BERT (Devlin et al., 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.task import IGNORED

SHARE = 0.15
"""How many of the tokens are asked for."""


def mask(
    tokens: Tensor, vocabulary: int, mask_token: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the masked inputs (B, N) and the targets (B, N), IGNORED for all other tokens.

    In every row 15 % of the tokens, chosen at random, are targets. Of these, 80 % are replaced by
    the mask, 10 % by a random token of the vocabulary, and 10 % are unchanged.
    """
    count = max(1, round(SHARE * tokens.shape[1]))
    order = torch.rand(tokens.shape, generator=generator).argsort(dim=1)
    chosen = torch.zeros_like(tokens, dtype=torch.bool).scatter_(1, order[:, :count], True)
    fate = torch.rand(tokens.shape, generator=generator)
    any_token = torch.randint(vocabulary, tokens.shape, generator=generator)
    shown = torch.where(chosen & (fate < 0.9), any_token, tokens)
    shown = shown.masked_fill(chosen & (fate < 0.8), mask_token)
    return shown, tokens.masked_fill(~chosen, IGNORED)


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each row's mean cross-entropy over the targets: (B,)."""
    each = F.cross_entropy(logits.mT, targets, reduction="none", ignore_index=IGNORED)
    return each.sum(dim=1) / (targets != IGNORED).sum(dim=1)
