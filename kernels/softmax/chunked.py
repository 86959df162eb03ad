r"""Softmax attention in chunks, recomputed in the backward pass: memory linear in the length.

For one chunk of queries, with m the largest score so far, each chunk of keys adds to

    n <- n e^(m - m') + sum_s e^(x_s - m') v_s        z <- z e^(m - m') + sum_s e^(x_s - m')

and o = n / z (Rabe, Staats, 2021, "Self-attention Does Not Need O(n^2) Memory", arXiv 2112.05682;
the paper keeps sums per chunk and joins them at the end, here they are joined as they come).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def chunked_softmax(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H M K"],
    v: Float[Tensor, "B H M V"],
    *,
    causal: bool,
    offset: int,
    key_padding_mask: Bool[Tensor, "B M"] | None = None,
    query_chunk: int = 128,
    key_chunk: int = 128,
) -> Float[Tensor, "B H N V"]:
    """Return o, or 0 for a query that sees nothing; query i stands at position i + offset.

    Nothing of a query chunk is saved for the backward pass but its inputs.
    """
    outputs = []
    for start in range(0, q.shape[2], query_chunk):
        rows = q[:, :, start : start + query_chunk]
        asked = (rows, k, v, key_padding_mask, start + offset, causal, key_chunk)
        if torch.is_grad_enabled():
            outputs.append(
                checkpoint(_attend_rows, *asked, use_reentrant=False, preserve_rng_state=False)
            )
        else:
            outputs.append(_attend_rows(*asked))
    return torch.cat(outputs, dim=2) if outputs else q[..., :0].expand(*q.shape[:3], v.shape[-1])


def _attend_rows(
    q: Float[Tensor, "B H C K"],
    k: Float[Tensor, "B H M K"],
    v: Float[Tensor, "B H M V"],
    key_padding_mask: Bool[Tensor, "B M"] | None,
    first_position: int,
    causal: bool,
    key_chunk: int,
) -> Float[Tensor, "B H C V"]:
    rows, q = q.shape[2], q / q.shape[-1] ** 0.5
    last_key = min(k.shape[2], first_position + rows) if causal else k.shape[2]
    largest = q.new_full((*q.shape[:3], 1), torch.finfo(q.dtype).min)
    numerator, denominator = q.new_zeros(*q.shape[:3], v.shape[-1]), torch.zeros_like(largest)
    for start in range(0, last_key, key_chunk):
        stop = min(start + key_chunk, last_key)
        scores = q @ k[:, :, start:stop].mT
        hidden = _hidden(start, stop, first_position, rows, causal, key_padding_mask, q)
        if hidden is not None:
            scores.masked_fill_(hidden, -torch.inf)
        # The maximum only keeps the exponentials in range; the result does not depend on it. It
        # starts at a finite number, so that a row of hidden keys gives exp(-inf) and no NaN.
        new_largest = torch.maximum(largest, scores.detach().amax(dim=-1, keepdim=True))
        shrink = (largest - new_largest).exp()
        weights = scores.sub_(new_largest).exp_()  # in place: memory traffic is most of the time
        numerator = numerator * shrink + weights @ v[:, :, start:stop]
        denominator = denominator * shrink + weights.sum(dim=-1, keepdim=True)
        largest = new_largest
    # A row that saw no key has sum 0 and gives 0; any other holds its largest weight, 1.
    return numerator / denominator.masked_fill(denominator == 0, 1.0)


def _hidden(
    start: int,
    stop: int,
    first_position: int,
    rows: int,
    causal: bool,
    key_padding_mask: Bool[Tensor, "B M"] | None,
    q: Tensor,
) -> Tensor | None:
    """Return what of a chunk of keys is hidden; None where every query sees all of it."""
    padded = None if key_padding_mask is None else key_padding_mask[:, None, None, start:stop]
    if not causal or stop <= first_position + 1:
        return padded
    positions = torch.arange(first_position, first_position + rows, device=q.device)
    future = torch.arange(start, stop, device=q.device) > positions[:, None]
    return future if padded is None else future | padded
