"""Neighbourhood attention on images as an operator: softmax over the k x k nearest tokens.

Layout as in the operator `softmax`; the N tokens form an image (`Case.grid`) row by row, and
`window` is the side k of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.kernels._offered import needs_triton_for_values
from cab.kernels.neighborhood.chunked import neighborhood_attention
from cab.kernels.neighborhood.reference import (
    neighborhood_reference,
    seen_pairs,
    visible,
    window_start,
)
from cab.kernels.operator import Case, Implementation, Operator, Run, Work, bytes_of_qkv, draw_qkv
from cab.kernels.softmax.api import OPERATOR as SOFTMAX
from cab.kernels.softmax.reference import eager_softmax


def work(case: Case) -> Work:
    """Two products and one exponential per visible pair."""
    pairs = case.batch * case.heads * seen_pairs(case.grid, case.window, case.dilation)
    return Work(2 * pairs * (case.width + case.value_width), pairs, bytes_of_qkv(case))


def _seen(case: Case) -> Tensor:
    tokens = torch.arange(case.queries, device=case.device)
    return visible(tokens, case.grid, case.window, case.dilation)


def _eager(case: Case) -> Run:
    hidden = ~_seen(case)
    return lambda q, k, v: eager_softmax(q, k, v, hidden)


def _chunked(case: Case) -> Run:
    options = {"grid": case.grid, "side": case.window, "dilation": case.dilation}
    return lambda q, k, v: neighborhood_attention(q, k, v, **options)


def _sdpa(case: Case) -> Run:
    seen = _seen(case)
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen)


def _flex(case: Case) -> Run:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    (height, width), side, step = case.grid, case.window, case.dilation

    def near(query: Tensor, key: Tensor, length: int) -> Tensor:
        own = (length - query % step + step - 1) // step
        place = key // step - window_start(query // step, own, side)
        return (key % step == query % step) & (place >= 0) & (place < side)

    def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        rows = near(query // width, key // width, height)
        return rows & near(query % width, key % width, width)

    attend = torch.compile(flex_attention, dynamic=False)
    mask = create_block_mask(sees, None, None, case.queries, case.keys, device=case.device)
    return lambda q, k, v: attend(q, k, v, block_mask=mask)


def _triton(case: Case) -> Run:
    from cab.kernels.neighborhood.triton_kernels import triton_neighborhood

    options = {"grid": case.grid, "side": case.window, "dilation": case.dilation}
    return lambda q, k, v: triton_neighborhood(q, k, v, **options)


def _refuses(case: Case) -> str:
    if case.causal or case.queries != case.keys:
        return "it needs one image (pattern ns, as many queries as keys)."
    if case.key_heads != case.heads:
        return f"it needs as many key heads ({case.key_heads}) as query heads ({case.heads})."
    if case.grid[0] * case.grid[1] != case.queries:
        return f"an image of {case.grid[0]} x {case.grid[1]} does not have {case.queries} tokens."
    return "" if case.window else "it needs the side of a window, at least 1 token (--window)."


OPERATOR = Operator(
    name="neighborhood",
    summary="softmax over the nearest tokens of an image",
    draw=draw_qkv,
    oracle=neighborhood_reference,
    work=work,
    implementations={
        "eager": Implementation(_eager),
        "chunked": Implementation(_chunked),
        "sdpa": Implementation(_sdpa),
        "flex": Implementation(_flex, SOFTMAX.implementations["flex"].refuses),
        "triton": Implementation(_triton, needs_triton_for_values),
    },
    plain="eager",
    refuses=_refuses,
)
