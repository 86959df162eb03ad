"""The gated delta rule by Triton kernels.

Forward: the triangular inverse of each chunk, the states in turn, the output of all chunks at
once. Backward: the states again, their gradients in turn, all other gradients at once. The
mathematics is in `_triton_solve.py`, `_triton_states.py` and `_triton_gradients.py`; given u, the
output is that of scalar decay with u for values.
"""

from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from cab.kernels._triton import check_tensors, dot_precision, power_of_two, rows_contiguous
from cab.kernels.delta_rule._triton_gradients import delta_gradient_kernel
from cab.kernels.delta_rule._triton_solve import inverse_kernel, overlaps_kernel
from cab.kernels.delta_rule._triton_states import (
    delta_state_gradients_kernel,
    delta_states_kernel,
)
from cab.kernels.linear._triton_states import CHUNK, state_dtype
from cab.kernels.scalar_decay.triton_kernels import outputs_of_chunks

WIDEST = 128


def triton_delta_rule(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    strength: Float[Tensor, "B H N"],
    log_decay: Float[Tensor, "B H N"],
) -> Float[Tensor, "B H N V"]:
    """Return o_t = S_t^T q_t, S_t = exp(g_t) (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T.

    The keys have norm 1 (or 0), strength is b in [0, 1] and log_decay g <= 0.

    Raises:
        ValueError: sizes that do not fit, or tensors on which Triton cannot run.
    """
    check_tensors(delta_states_kernel, q, k, v)
    if q.shape[-1] > WIDEST:
        raise ValueError(f"Keys of width {q.shape[-1]} have no kernel; the widest is {WIDEST}.")
    if 0 in (*q.shape, *v.shape):
        raise ValueError(f"A size is 0: q {tuple(q.shape)}, v {tuple(v.shape)}.")
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    strength, log_decay = (x.float().contiguous() for x in (strength, log_decay))
    return _DeltaRule.apply(q, k, v, strength, log_decay)


class _DeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor
    ) -> Tensor:
        inverse = _inverses(k, strength, log_decay)
        states, written = _states(k, v, strength, log_decay, inverse)
        ctx.save_for_backward(q, k, v, strength, log_decay, inverse)
        return outputs_of_chunks(q, k, written.to(v.dtype), log_decay, states)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, ...]:
        q, k, v, strength, log_decay, inverse = ctx.saved_tensors
        above = rows_contiguous(above)
        states, written = _states(k, v, strength, log_decay, inverse)
        batch, heads, length = v.shape[:3]
        chunks, pairs = triton.cdiv(length, CHUNK), batch * heads
        changes, error_gradient = torch.empty_like(states), torch.empty_like(written)
        constants = constants_of_states(q, v)
        tiles = triton.cdiv(v.shape[-1], constants["BLOCK_VALUE_WIDTH"])
        delta_state_gradients_kernel[tiles, pairs](
            q, k, strength, log_decay, inverse, above, changes, error_gradient,
            *_strides(q, k, above), heads, length, chunks, **constants, num_warps=8, num_stages=1,
        )  # fmt: skip
        gradients = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
        scalar_gradients = [torch.empty_like(x) for x in (strength, log_decay)]
        delta_gradient_kernel[chunks, pairs](
            q, k, v, strength, log_decay, states, changes, written, error_gradient, above,
            *gradients, *scalar_gradients, *_strides(q, k, v, above), heads, length,
            **constants, num_warps=8, num_stages=1,
        )  # fmt: skip
        return *gradients, *scalar_gradients


def _inverses(k: Tensor, strength: Tensor, log_decay: Tensor) -> Tensor:
    """Return T (B, H, chunks, C, C)."""
    batch, heads, length, width = k.shape
    chunks = triton.cdiv(length, CHUNK)
    overlaps = torch.empty(
        (batch, heads, chunks, CHUNK, CHUNK), dtype=torch.float32, device=k.device
    )
    overlaps_kernel[chunks, batch * heads](
        k, strength, log_decay, overlaps, *_strides(k), heads, length, width, CHUNK,
        power_of_two(width), dot_precision(k.dtype), num_warps=4, num_stages=1,
    )  # fmt: skip
    inverse = torch.empty_like(overlaps, dtype=state_dtype(k))
    inverse_kernel[(batch * heads * chunks,)](overlaps, inverse, CHUNK, num_warps=4)
    return inverse


def _states(
    k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Return S before each chunk (B, H, chunks, K, V), and u (B, H, N, V)."""
    batch, heads, length, value_width = v.shape
    chunks = inverse.shape[2]
    states = inverse.new_empty(batch, heads, chunks, k.shape[-1], value_width)
    written = inverse.new_empty(batch, heads, length, value_width)
    constants = constants_of_states(k, v)
    tiles = triton.cdiv(value_width, constants["BLOCK_VALUE_WIDTH"])
    delta_states_kernel[tiles, batch * heads](
        k, v, strength, log_decay, inverse, states, written, *_strides(k, v), heads, length,
        chunks, **constants, num_warps=4, num_stages=1,
    )  # fmt: skip
    return states, written


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def constants_of_states(k: Tensor, v: Tensor) -> dict[str, Any]:
    """Return the constants of the kernels that hold states."""
    return {
        "WIDTH": k.shape[-1],
        "VALUE_WIDTH": v.shape[-1],
        "CHUNK": CHUNK,
        "BLOCK_WIDTH": power_of_two(k.shape[-1]),
        "BLOCK_VALUE_WIDTH": min(32, power_of_two(v.shape[-1])),
        "PRECISION": dot_precision(k.dtype),
    }
