"""Causal linear attention with or without scalar decay, by Triton kernels.

Forward: the states between chunks, then the output of all chunks at once. Backward: the states
again (kept, they would take 2 N K V / C), their gradients, then all other gradients at once. The
mathematics is in `_triton_chunks.py`, `_triton_gradients.py` and
`cab/kernels/linear/_triton_states.py`.
"""

from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from cab.kernels._derivatives import first_derivative_only
from cab.kernels._triton import (
    check_sizes,
    check_tensors,
    dot_precision,
    power_of_two,
    rows_contiguous,
    strides_of,
)
from cab.kernels.linear._triton_states import CHUNK, states_between_chunks
from cab.kernels.scalar_decay._triton_chunks import scalar_decay_output_kernel
from cab.kernels.scalar_decay._triton_gradients import (
    scalar_decay_gradient_kernel,
    scalar_decay_value_gradient_kernel,
)


def triton_scalar_decay(
    q: Float[Tensor, "B G N K"],
    k: Float[Tensor, "B J N K"],
    v: Float[Tensor, "B H N V"],
    log_decay: Float[Tensor, "B H N"] | None,
) -> Float[Tensor, "B H N V"]:
    """Return o_t = S_t^T q_t with S_t = exp(g_t) S_{t-1} + k_t v_t^T; g = 0 if log_decay is None.

    One head of queries or keys in place of H is shared by all heads. States are summed in float32.

    Raises:
        ValueError: sizes that do not fit, or tensors on which Triton cannot run.
    """
    check_tensors(scalar_decay_output_kernel, q, k, v)
    heads = v.shape[1]
    check_sizes(q, v)
    q, k = (rows_contiguous(x).expand(-1, heads, -1, -1) for x in (q, k))
    if log_decay is not None:
        log_decay = log_decay.float().contiguous()
    return _ScalarDecay.apply(q, k, rows_contiguous(v), log_decay)


class _ScalarDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None) -> Tensor:
        decay = "none" if log_decay is None else "scalar"
        states = states_between_chunks(k, v, decay=decay, gates=log_decay)
        ctx.save_for_backward(q, k, v, log_decay)
        return outputs_of_chunks(q, k, v, log_decay, states)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        q, k, v, log_decay = ctx.saved_tensors
        above = rows_contiguous(above)
        decay = "none" if log_decay is None else "scalar"
        states = states_between_chunks(k, v, decay=decay, gates=log_decay)
        changes = states_between_chunks(q, above, decay=decay, gates=log_decay, reverse=True)
        gradients = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
        unread = q if log_decay is None else log_decay
        (batch, heads, length), width = v.shape[:3], q.shape[-1]
        chunks, pairs = triton.cdiv(length, CHUNK), batch * heads
        constants = constants_of_chunks(q, v, log_decay is not None)
        tiles = triton.cdiv(v.shape[-1], constants["BLOCK_VALUE_WIDTH"])
        scalar_decay_value_gradient_kernel[chunks, tiles, pairs](
            q, k, unread, changes, above, gradients[2], *strides_of(q, k, above), heads, length,
            **constants, num_warps=4, num_stages=1,
        )  # fmt: skip
        constants |= {"BLOCK_WIDTH": min(64, constants["BLOCK_WIDTH"])}
        constants |= {"BLOCK_VALUE_WIDTH": min(32, constants["BLOCK_VALUE_WIDTH"])}
        tiles = triton.cdiv(width, constants["BLOCK_WIDTH"])
        shares = unread.new_empty(batch, heads, tiles, length)
        totals = unread.new_empty(batch, heads, chunks, width)
        scalar_decay_gradient_kernel[chunks, tiles, pairs](
            q, k, v, unread, states, changes, above, *gradients[:2], shares, totals,
            *strides_of(q, k, v, above), heads, length, **constants, num_warps=8, num_stages=1,
        )  # fmt: skip
        if log_decay is None:
            return *gradients, None
        return *gradients, shares.sum(dim=2) + of_each_token(totals.sum(dim=-1), length)


def of_each_token(of_chunks: Tensor, length: int) -> Tensor:
    """Give each token (B, H, N) what its chunk has (B, H, chunks)."""
    return of_chunks.repeat_interleave(CHUNK, dim=-1)[..., :length]


def outputs_of_chunks(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None, states: Tensor
) -> Tensor:
    """Return o (B, H, N, V) from the states before each chunk."""
    batch, heads, length, width = v.shape
    # Head by head within a token, so that merging the heads afterwards copies nothing.
    out = v.new_empty(batch, length, heads, width).transpose(1, 2)
    constants = constants_of_chunks(q, v, log_decay is not None)
    tiles = triton.cdiv(width, constants["BLOCK_VALUE_WIDTH"])
    scalar_decay_output_kernel[triton.cdiv(length, CHUNK), tiles, batch * heads](
        q, k, v, q if log_decay is None else log_decay, states, out,
        *strides_of(q, k, v, out), heads, length,
        **constants, num_warps=4, num_stages=1,
    )  # fmt: skip
    return out


def constants_of_chunks(q: Tensor, v: Tensor, decays: bool) -> dict[str, Any]:
    """Return the constants of the kernels within chunks."""
    return {
        "WIDTH": q.shape[-1],
        "VALUE_WIDTH": v.shape[-1],
        "CHUNK": CHUNK,
        "BLOCK_WIDTH": power_of_two(q.shape[-1]),
        "BLOCK_VALUE_WIDTH": min(64, power_of_two(v.shape[-1])),
        "DECAY": "scalar" if decays else "none",
        "PRECISION": dot_precision(q.dtype),
    }
