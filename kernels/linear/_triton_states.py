"""The states between chunks, which carry all that came before: one program per tile of a state.

S_n = exp(total) S_{n-1} + sum_t (k_t exp(total - G_t)) v_t^T        over the tokens t of a chunk

with G_t the sum of the log-decays from the chunk's first token to t, and total that of the whole
chunk. Backward the same recurrence runs from the last chunk to the first, for the gradients:

dS_{n-1} = exp(total) dS_n + sum_t (q_t exp(G_t)) do_t^T

The state is summed in float32 registers; what is stored before each step is a copy for the
tensor cores. Decays are in powers of 2 throughout.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from cab.kernels._triton import LOG2_E, dot_precision, power_of_two, strides_of

CHUNK = 64
"""Tokens of a chunk: the least that fills a warp group's product on sm_90."""


@triton.jit
@no_type_check
def since_start_of_chunk(log_decay_at, start, length, CHUNK: tl.constexpr):
    """Return (G, total) of a chunk of scalar decays, in log2; tokens beyond the end decay by 0."""
    rows = start + tl.arange(0, CHUNK)
    decay = tl.load(log_decay_at + rows, mask=rows < length, other=0.0) * LOG2_E
    return tl.cumsum(decay, 0), tl.sum(decay, 0)


@triton.jit
@no_type_check
def states_kernel(
    keys_at,
    values_at,
    log_decay_at,
    since_start_at,
    states_at,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    heads,
    length,
    chunks,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    DECAY: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of K, tiles of V, B H). Stores the state before each chunk in this direction.

    DECAY is "none", "scalar" (log_decay_at, B H N) or "vector" (since_start_at, B H N K).
    """
    pair = tl.program_id(2).to(tl.int64)
    column = tl.program_id(0) * BLOCK_WIDTH
    value_column = tl.program_id(1) * BLOCK_VALUE_WIDTH
    keys_at += pair // heads * key_batch + pair % heads * key_head
    values_at += pair // heads * value_batch + pair % heads * value_head
    log_decay_at += pair * length
    since_start_at += pair * length * WIDTH
    columns = column + tl.arange(0, BLOCK_WIDTH)
    value_columns = value_column + tl.arange(0, BLOCK_VALUE_WIDTH)
    places = columns[:, None] * VALUE_WIDTH + value_columns[None, :]
    exists = (columns < WIDTH)[:, None] & (value_columns < VALUE_WIDTH)[None, :]
    state = tl.full((BLOCK_WIDTH, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    for step in range(chunks):
        chunk = step
        if REVERSE:
            chunk = chunks - 1 - step
        stored = states_at + (pair * chunks + chunk) * WIDTH * VALUE_WIDTH
        tl.store(stored + places, state.to(states_at.dtype.element_ty), mask=exists)
        rows = chunk * CHUNK + tl.arange(0, CHUNK)
        inside = (rows < length)[:, None]
        key = tl.load(
            keys_at + rows[:, None].to(tl.int64) * key_row + columns[None, :],
            mask=inside & (columns < WIDTH)[None, :],
            other=0.0,
        )
        value = tl.load(
            values_at + rows[:, None].to(tl.int64) * value_row + value_columns[None, :],
            mask=inside & (value_columns < VALUE_WIDTH)[None, :],
            other=0.0,
        )
        if DECAY == "scalar":
            since, total = since_start_of_chunk(log_decay_at, chunk * CHUNK, length, CHUNK)
            state = state * tl.exp2(total)
            weight = tl.exp2(since) if REVERSE else tl.exp2(total - since)
            key = (key * weight[:, None]).to(key.dtype)
        if DECAY == "vector":
            since = tl.load(
                since_start_at + rows[:, None] * WIDTH + columns[None, :],
                mask=inside & (columns < WIDTH)[None, :],
                other=0.0,
            )
            last = tl.minimum((chunk + 1) * CHUNK, length) - 1
            total = tl.load(
                since_start_at + last * WIDTH + columns, mask=columns < WIDTH, other=0.0
            )
            state = state * tl.exp2(total)[:, None]
            weight = tl.exp2(since) if REVERSE else tl.exp2(total[None, :] - since)
            key = (key * weight).to(key.dtype)
        state = tl.dot(tl.trans(key), value, state, input_precision=PRECISION)


def states_between_chunks(
    keys: Tensor, values: Tensor, *, decay: str, gates: Tensor | None, reverse: bool = False
) -> Tensor:
    """Return (B, H, chunks, K, V): the state before each chunk, or its gradient after it.

    Args:
        keys: (B, H, N, K); the queries when reversed.
        values: (B, H, N, V); the gradients of the output when reversed.
        decay: `none`, `scalar` or `vector`.
        gates: log-decays (B, H, N) for scalar, sums within chunks (B, H, N, K) for vector.
        reverse: from the last chunk to the first.
    """
    (batch, heads, length, width), value_width = keys.shape, values.shape[-1]
    chunks = triton.cdiv(length, CHUNK)
    states = torch.empty(
        (batch, heads, chunks, width, value_width), dtype=state_dtype(keys), device=keys.device
    )
    unread = keys if gates is None else gates
    states_kernel[_grid(width, value_width, batch * heads)](
        keys, values, unread, unread, states, *strides_of(keys, values), heads, length, chunks,
        **constants_of_states(keys, values, decay, reverse),
    )  # fmt: skip
    return states


def state_dtype(x: Tensor) -> torch.dtype:
    """Return how states are stored: float16 ends at 65,504, which a long sum passes."""
    return torch.bfloat16 if x.dtype == torch.bfloat16 else torch.float32


def _grid(width: int, value_width: int, pairs: int) -> tuple[int, int, int]:
    side, value_side = _tile(width), _tile(value_width)
    return triton.cdiv(width, side), triton.cdiv(value_width, value_side), pairs


def _tile(width: int) -> int:
    """Return the side of a tile: small tiles make more programs, and chunks are taken in turn."""
    return min(64, power_of_two(width))


def constants_of_states(keys: Tensor, values: Tensor, decay: str, reverse: bool) -> dict[str, Any]:
    """Return the constants of `states_kernel`."""
    return {
        "WIDTH": keys.shape[-1],
        "VALUE_WIDTH": values.shape[-1],
        "CHUNK": CHUNK,
        "BLOCK_WIDTH": _tile(keys.shape[-1]),
        "BLOCK_VALUE_WIDTH": _tile(values.shape[-1]),
        "DECAY": decay,
        "REVERSE": reverse,
        "PRECISION": dot_precision(keys.dtype),
        "num_warps": 4,
        "num_stages": 3,
    }
