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

from cab.kernels._derivatives import first_derivative_only
from cab.kernels._triton import (
    check_sizes,
    check_tensors,
    dot_precision,
    power_of_two,
    rows_contiguous,
    strides_of,
)
from cab.kernels.delta_rule._triton_gradients import delta_gradient_kernel, delta_pairs_kernel
from cab.kernels.delta_rule._triton_solve import inverse_kernel, overlaps_kernel
from cab.kernels.delta_rule._triton_states import (
    delta_state_gradients_kernel,
    delta_states_kernel,
)
from cab.kernels.linear._triton_states import CHUNK, state_dtype
from cab.kernels.scalar_decay.triton_kernels import of_each_token, outputs_of_chunks


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
    check_sizes(q, v)
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
    @first_derivative_only
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
            *strides_of(q, k, above), heads, length, chunks, **constants, num_warps=8,
            num_stages=1,
        )  # fmt: skip
        gradients = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
        constants |= {"BLOCK_WIDTH": min(64, constants["BLOCK_WIDTH"])}
        tiles = triton.cdiv(q.shape[-1], constants["BLOCK_WIDTH"])
        by_pairs = [q.new_empty(batch, heads, chunks, CHUNK, CHUNK) for _ in range(2)]
        shares = [strength.new_empty(batch, heads, 1 + tiles, length) for _ in range(2)]
        delta_pairs_kernel[chunks, pairs](
            q, k, v, strength, log_decay, written, error_gradient, above, gradients[2], *by_pairs,
            *shares, *strides_of(q, k, v, above), heads, length, 1 + tiles, **constants,
            num_warps=4, num_stages=1,
        )  # fmt: skip
        totals = strength.new_empty(batch, heads, chunks, q.shape[-1])
        delta_gradient_kernel[chunks, tiles, pairs](
            q, k, strength, log_decay, states, changes, written, error_gradient, above, *by_pairs,
            *gradients[:2], *shares, totals, *strides_of(q, k, above), heads, length, 1 + tiles,
            **constants, num_warps=4, num_stages=1,
        )  # fmt: skip
        strength_gradient, decay_gradient = (share.sum(dim=2) for share in shares)
        decay_gradient += of_each_token(totals.sum(dim=-1), length)
        return *gradients, strength_gradient, decay_gradient


def _inverses(k: Tensor, strength: Tensor, log_decay: Tensor) -> Tensor:
    """Return T (B, H, chunks, C, C)."""
    batch, heads, length, width = k.shape
    chunks = triton.cdiv(length, CHUNK)
    overlaps = torch.empty(
        (batch, heads, chunks, CHUNK, CHUNK), dtype=torch.float32, device=k.device
    )
    overlaps_kernel[chunks, batch * heads](
        k, strength, log_decay, overlaps, *strides_of(k), heads, length, width, CHUNK,
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
        k, v, strength, log_decay, inverse, states, written, *strides_of(k, v), heads, length,
        chunks, **constants, num_warps=4, num_stages=1,
    )  # fmt: skip
    return states, written


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
