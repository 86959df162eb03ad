"""Linear attention by Triton kernels: causal in chunks, noncausal and cross as plain sums.

The mathematics is in `_triton_sums.py`, and for causal attention in `_triton_states.py` and
`cab/kernels/scalar_decay/_triton_chunks.py`.
"""

from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from cab.kernels._derivatives import first_derivative_only
from cab.kernels._triton import (
    check_tensors,
    dot_precision,
    power_of_two,
    rows_contiguous,
    strides_of,
)
from cab.kernels.linear._triton_states import state_dtype
from cab.kernels.linear._triton_sums import apply_kernel, outer_sum_kernel
from cab.kernels.scalar_decay.triton_kernels import triton_scalar_decay

BLOCK = 64
PROGRAMS = 264
"""Programs that fill a GPU of 132 multiprocessors twice; the sequence is cut to make as many."""


def triton_linear(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H M K"],
    v: Float[Tensor, "B H M V"],
    *,
    causal: bool,
) -> Float[Tensor, "B H N V"]:
    """Return o_i = sum_j (q_i . k_j) v_j over j <= i (causal; one sequence) or over every key.

    Padded keys are zeroed by the caller: they then add nothing.

    Raises:
        ValueError: sizes that do not fit, or tensors on which Triton cannot run.
    """
    if causal:
        if q.shape[2] != k.shape[2]:
            raise ValueError(
                f"Causal: {q.shape[2]} queries, {k.shape[2]} keys; it is one sequence."
            )
        return triton_scalar_decay(q, k, v, None)
    check_tensors(outer_sum_kernel, q, k, v)
    if 0 in (*q.shape, *v.shape):
        raise ValueError(f"A size is 0: q {tuple(q.shape)}, v {tuple(v.shape)}.")
    return _Linear.apply(rows_contiguous(q), rows_contiguous(k), rows_contiguous(v))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        state = outer_sum(k, v)
        ctx.save_for_backward(q, k, v, state)
        return apply_to_rows(q, state, transposed=False)

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, state = ctx.saved_tensors
        above = rows_contiguous(above)
        change = outer_sum(q, above)
        return (
            apply_to_rows(above, state, transposed=True),
            apply_to_rows(v, change, transposed=True),
            apply_to_rows(k, change, transposed=False),
        )


def outer_sum(left: Tensor, right: Tensor) -> Tensor:
    """Return sum_j left_j right_j^T (B, H, K, V) of (B, H, N, K) and (B, H, N, V)."""
    (batch, heads, length, width), value_width = left.shape, right.shape[-1]
    constants = constants_of_sum(left, right)
    tiles = triton.cdiv(width, constants["BLOCK_WIDTH"])
    tiles *= triton.cdiv(value_width, constants["BLOCK_VALUE_WIDTH"])
    wanted = max(1, PROGRAMS // (tiles * batch * heads))
    stretch = triton.cdiv(triton.cdiv(length, wanted), BLOCK) * BLOCK
    stretches = triton.cdiv(length, stretch)
    sums = torch.empty(
        (batch, heads, stretches, width, value_width), dtype=torch.float32, device=left.device
    )
    outer_sum_kernel[tiles, stretches, batch * heads](
        left, right, sums, *strides_of(left, right), heads, length, stretch,
        **constants,
    )  # fmt: skip
    return sums.sum(dim=2).to(state_dtype(left))


def apply_to_rows(rows: Tensor, matrix: Tensor, *, transposed: bool) -> Tensor:
    """Return each row times its head's matrix (or its transpose), in the rows' dtype."""
    batch, heads, length, _ = rows.shape
    width = matrix.shape[2 if transposed else 3]
    out = rows.new_empty(batch, length, heads, width).transpose(1, 2)
    constants = constants_of_apply(rows, width, transposed)
    grid = triton.cdiv(length, BLOCK), triton.cdiv(width, constants["BLOCK_OUT_WIDTH"])
    apply_kernel[(*grid, batch * heads)](
        rows, matrix, out, *strides_of(rows, out), heads, length, **constants
    )
    return out


def constants_of_sum(left: Tensor, right: Tensor) -> dict[str, Any]:
    """Return the constants of `outer_sum_kernel`."""
    return {
        "WIDTH": left.shape[-1],
        "VALUE_WIDTH": right.shape[-1],
        "BLOCK": BLOCK,
        "BLOCK_WIDTH": min(64, power_of_two(left.shape[-1])),
        "BLOCK_VALUE_WIDTH": min(64, power_of_two(right.shape[-1])),
        "PRECISION": dot_precision(left.dtype),
        "num_warps": 4,
        "num_stages": 3,
    }


def constants_of_apply(rows: Tensor, width: int, transposed: bool) -> dict[str, Any]:
    """Return the constants of `apply_kernel`."""
    return {
        "WIDTH": rows.shape[-1],
        "OUT_WIDTH": width,
        "BLOCK": BLOCK,
        "BLOCK_WIDTH": min(64, power_of_two(rows.shape[-1])),
        "BLOCK_OUT_WIDTH": min(128, power_of_two(width)),
        "TRANSPOSED": transposed,
        "PRECISION": dot_precision(rows.dtype),
        "num_warps": 4,
        "num_stages": 2,
    }
