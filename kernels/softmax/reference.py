"""Softmax attention by its definition: the oracle in float64, and the same in any dtype.

o_t = sum_{s in V_t} softmax_s(q_t . k_s / sqrt(K)) v_s, and 0 where V_t is empty
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.kernels.operator import Case, Inputs
from cab.kernels.softmax.masks import visible


def softmax_reference(inputs: Inputs, case: Case, rows: Int[Tensor, " R"]) -> Tensor:
    """Answer the queries `rows` in float64, one slice of them at a time."""
    q, k, v = (inputs[name].double() for name in "qkv")
    slices = [eager_softmax(q[:, :, some], k, v, ~visible(case, some)) for some in rows.split(256)]
    return torch.cat(slices, dim=2)


def eager_softmax(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B G M K"],
    v: Float[Tensor, "B G M V"],
    hidden: Bool[Tensor, "N M"] | None,
) -> Float[Tensor, "B H N V"]:
    """Return o with all scores in memory; H is a multiple of G, and G heads are shared in turn."""
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    scores = (q / q.shape[-1] ** 0.5) @ k.mT
    if hidden is None:
        return scores.softmax(dim=-1) @ v
    # The lowest finite number, not -inf: a row that sees nothing stays finite, and is zeroed.
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
    return weights.masked_fill(hidden, 0.0) @ v


def repeat_heads(x: Float[Tensor, "B G M E"], heads: int) -> Float[Tensor, "B H M E"]:
    """Give each group of query heads its own copy of the key head that it shares."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)
