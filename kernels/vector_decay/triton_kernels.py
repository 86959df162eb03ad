"""Causal linear attention with vector decay, by Triton kernels.

Forward: sums of decays, states between chunks, scores within chunks, output. Backward: all of
that again but the output, then the gradients. The mathematics is in `_triton_within.py`,
`_triton_chunks.py` and `cab/kernels/linear/_triton_states.py`.
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
from cab.kernels.vector_decay._triton_chunks import (
    score_gradient_kernel,
    vector_decay_output_kernel,
    vector_decay_state_gradient_kernel,
    vector_decay_value_gradient_kernel,
)
from cab.kernels.vector_decay._triton_within import (
    decay_gradient_kernel,
    decayed_scores_kernel,
    sums_within_chunks_kernel,
    within_gradient_kernel,
)

PART = 16


def triton_vector_decay(
    q: Float[Tensor, "B H N K"],
    k: Float[Tensor, "B H N K"],
    v: Float[Tensor, "B H N V"],
    log_decay: Float[Tensor, "B H N K"],
) -> Float[Tensor, "B H N V"]:
    """Return o_t = S_t^T q_t with S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T, g = log_decay <= 0.

    Raises:
        ValueError: sizes that do not fit, or tensors on which Triton cannot run.
    """
    check_tensors(decayed_scores_kernel, q, k, v)
    check_sizes(q, v)
    q, k, v = (rows_contiguous(x) for x in (q, k, v))
    return _VectorDecay.apply(q, k, v, log_decay.float().contiguous())


class _VectorDecay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v, log_decay)
        since, scores = _within_chunks(q, k, log_decay)
        states = states_between_chunks(k, v, decay="vector", gates=since)
        batch, heads, length, width = v.shape
        out = v.new_empty(batch, length, heads, width).transpose(1, 2)
        tile = min(64, power_of_two(width))
        grid = (triton.cdiv(length, CHUNK), triton.cdiv(width, tile), batch * heads)
        vector_decay_output_kernel[grid](
            q, v, since, scores, states, out, *strides_of(q, v, out), heads, length,
            **_sizes(q, v), num_warps=4, num_stages=1,
        )  # fmt: skip
        return out

    @staticmethod
    @first_derivative_only
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v, log_decay = ctx.saved_tensors
        above = rows_contiguous(above)
        since, scores = _within_chunks(q, k, log_decay)
        states = states_between_chunks(k, v, decay="vector", gates=since)
        changes = states_between_chunks(q, above, decay="vector", gates=since, reverse=True)

        batch, heads, length, width = q.shape
        chunks, pairs = triton.cdiv(length, CHUNK), batch * heads
        from_state = [torch.empty_like(since) for _ in range(2)]
        gradients = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)]
        score_gradient = torch.empty_like(scores)
        total_gradient = since.new_empty(batch, heads, chunks, width)
        sizes = _sizes(q, v)
        tile = sizes["BLOCK_VALUE_WIDTH"]
        vector_decay_value_gradient_kernel[chunks, triton.cdiv(v.shape[-1], tile), pairs](
            k, since, scores, changes, above, gradients[2], *strides_of(k, above), heads, length,
            **sizes, num_warps=4, num_stages=1,
        )  # fmt: skip
        score_gradient_kernel[chunks, pairs](
            v, above, score_gradient, *strides_of(v, above), heads, length, v.shape[-1], CHUNK,
            tile, sizes["PRECISION"], num_warps=4, num_stages=2,
        )  # fmt: skip
        tile = sizes["BLOCK_WIDTH"] = min(64, sizes["BLOCK_WIDTH"])
        vector_decay_state_gradient_kernel[chunks, triton.cdiv(width, tile), pairs](
            k, v, since, states, changes, above, *from_state, total_gradient,
            *strides_of(k, v, above), heads, length, **sizes, num_warps=8, num_stages=1,
        )  # fmt: skip
        since_gradient = torch.empty_like(since)
        within_gradient_kernel[chunks * (CHUNK // PART), pairs](
            q, k, since, score_gradient, *from_state, *gradients[:2], since_gradient,
            *strides_of(q, k), heads, length, **_part_sizes(q), num_warps=4, num_stages=1,
        )  # fmt: skip
        decay_gradient = torch.empty_like(since)
        decay_gradient_kernel[chunks, triton.cdiv(width, tile), pairs](
            since_gradient, total_gradient, decay_gradient, length, width, CHUNK, tile,
            num_warps=4,
        )  # fmt: skip
        return *gradients, decay_gradient


def _within_chunks(q: Tensor, k: Tensor, log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """Return G (B, H, N, K) in float32 and A (B, H, chunks, C, C)."""
    batch, heads, length, width = q.shape
    chunks, pairs, tile = triton.cdiv(length, CHUNK), batch * heads, min(64, power_of_two(width))
    since = torch.empty_like(log_decay)
    sums_within_chunks_kernel[chunks, triton.cdiv(width, tile), pairs](
        log_decay, since, length, width, CHUNK, tile, num_warps=4
    )
    scores = q.new_empty(batch, heads, chunks, CHUNK, CHUNK)
    decayed_scores_kernel[chunks * (CHUNK // PART), pairs](
        q, k, since, scores, *strides_of(q, k), heads, length, **_part_sizes(q), num_warps=4,
        num_stages=1,
    )  # fmt: skip
    return since, scores


def _sizes(q: Tensor, v: Tensor) -> dict[str, Any]:
    return {
        "WIDTH": q.shape[-1],
        "VALUE_WIDTH": v.shape[-1],
        "CHUNK": CHUNK,
        "BLOCK_WIDTH": power_of_two(q.shape[-1]),
        "BLOCK_VALUE_WIDTH": min(64, power_of_two(v.shape[-1])),
        "PRECISION": dot_precision(q.dtype),
    }


def _part_sizes(q: Tensor) -> dict[str, Any]:
    return {
        "WIDTH": q.shape[-1],
        "CHUNK": CHUNK,
        "PART": PART,
        "BLOCK_WIDTH": power_of_two(q.shape[-1]),
        "PRECISION": dot_precision(q.dtype),
    }
