"""Attention of one query over a list of keys, written out, and how an indexer is trained."""

import torch
from support import BATCH, DIM, HEADS, draw

WIDTH = DIM // HEADS


def drawn(name, build, **options):
    """Build with every parameter away from where it starts."""
    attention = build(name, "cs", **options).requires_grad_(False)
    for number, parameter in enumerate(attention.parameters()):
        parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def heads_of(x, heads=HEADS):
    """Cut the channels (B, N, C) into heads (B, heads, N, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def rms(x, weight, eps=1e-6):
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight


def attend(query, keys, values, scale=WIDTH**-0.5):
    """The mean of values (list of vectors) by the softmax of query . key; 0 without keys."""
    if not len(keys):
        return torch.zeros_like(query)
    keys, values = torch.stack(list(keys)), torch.stack(list(values))
    weights = torch.exp(keys @ query * scale)
    return weights @ values / weights.sum()


def holes(length):
    """Padding inside and at the end of the second row; the first token of each row is there."""
    padding = draw(BATCH, length, seed="holes") > 0.8
    padding[:, 0] = False
    padding[0] = False
    return padding


def answered(attention, x, padded):
    """What attention answers to tokens x, some of them padding that is NaN, and which are."""
    padding = holes(x.shape[1]) if padded else torch.zeros(x.shape[:2], dtype=torch.bool)
    hollow = x.masked_fill(padding[..., None], float("nan"))
    return attention(hollow, key_padding_mask=padding if padded else None), padding


def divergences(attention, x, steps=100, rate=0.05):
    """The indexer's loss before and after training it alone on random tokens."""
    attention.train()
    indexer = [p for name, p in attention.named_parameters() if name.startswith("index")]
    optimiser, losses = torch.optim.Adam(indexer, rate), []
    for _ in range(steps):
        attention(x)
        loss = attention.auxiliary_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses[0], losses[-1]
