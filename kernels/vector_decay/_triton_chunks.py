"""Linear attention with vector decay by chunks: the output, and what the states pass back.

o_i = (q_i exp(G_i)) S + sum_{j <= i} A_ij v_j            (A as in `_triton_within.py`)

With S the state before the chunk and dS the gradient of the state after it, per channel,

dA = dO V^T on and below the diagonal      dV = A^T dO + (K exp(total - G)) dS
dQ += exp(G) (dO S^T)                      dK += exp(total - G) (V dS^T)
dtotal = exp(total) sum_v S dS + sum_i k_i (exp(total - G_i) dS v_i)

Each has a kernel of its own, cut by the columns that it has: a program that held a whole chunk of
all of them would need more registers than there are.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, load_rows, store_columns, store_rows
from cab.kernels.vector_decay._triton_within import sum_at


@triton.jit
@no_type_check
def vector_decay_output_kernel(
    queries_at,
    values_at,
    since_start_at,
    scores_at,
    states_at,
    out_at,
    query_batch,
    query_head,
    query_row,
    value_batch,
    value_head,
    value_row,
    out_batch,
    out_head,
    out_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of V, B H)."""
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start, column = tl.program_id(0) * CHUNK, tl.program_id(1) * BLOCK_VALUE_WIDTH
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    since = load_rows(
        since_start_at + pair * length * WIDTH, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH
    )
    state = load_columns(
        states_at + chunk * WIDTH * VALUE_WIDTH,
        0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    value = load_columns(
        values_at + batch * value_batch + head * value_head,
        start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    scores = load_rows(scores_at + chunk * CHUNK * CHUNK, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)
    asking = (query * tl.exp2(since)).to(state.dtype)
    out = tl.dot(asking, state, input_precision=PRECISION)
    out = tl.dot(scores, value, out, input_precision=PRECISION)
    store_columns(
        out_at + batch * out_batch + head * out_head,
        out, start, length, out_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def vector_decay_value_gradient_kernel(
    keys_at,
    since_start_at,
    scores_at,
    state_gradients_at,
    above_at,
    value_gradient_at,
    key_batch,
    key_head,
    key_row,
    above_batch,
    above_head,
    above_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of V, B H): dv, contiguous (B, H, N, V)."""
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start, column = tl.program_id(0) * CHUNK, tl.program_id(1) * BLOCK_VALUE_WIDTH
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    since_start_at += pair * length * WIDTH
    key = load_rows(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    since = load_rows(since_start_at, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH)
    total = sum_at(since_start_at, start + CHUNK - 1, (start >= 0), length, 0, WIDTH, BLOCK_WIDTH)
    change = load_columns(
        state_gradients_at + chunk * WIDTH * VALUE_WIDTH,
        0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    above = load_columns(
        above_at + batch * above_batch + head * above_head,
        start, length, above_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    scores = load_rows(scores_at + chunk * CHUNK * CHUNK, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)
    # Rows beyond the end have G = 0, not total; their keys are 0, the weight must be finite.
    written = (key * tl.exp2(tl.minimum(total[None, :] - since, 0.0))).to(change.dtype)
    gradient = tl.dot(written, change, input_precision=PRECISION)
    gradient = tl.dot(tl.trans(scores), above, gradient, input_precision=PRECISION)
    store_columns(
        value_gradient_at + pair * length * VALUE_WIDTH,
        gradient, start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def score_gradient_kernel(
    values_at,
    above_at,
    score_gradient_at,
    value_batch,
    value_head,
    value_row,
    above_batch,
    above_head,
    above_row,
    heads,
    length,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, B H): dA (B, H, chunks, C, C)."""
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    values_at += batch * value_batch + head * value_head
    above_at += batch * above_batch + head * above_head
    gradient = tl.full((CHUNK, CHUNK), 0.0, tl.float32)
    for column in range(0, VALUE_WIDTH, BLOCK_VALUE_WIDTH):
        value = load_columns(
            values_at, start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        above = load_columns(
            above_at, start, length, above_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        gradient = tl.dot(above, tl.trans(value), gradient, input_precision=PRECISION)
    tokens = tl.arange(0, CHUNK)
    gradient = tl.where(tokens[:, None] >= tokens[None, :], gradient, 0.0)
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    store_rows(
        score_gradient_at + chunk * CHUNK * CHUNK, gradient, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK
    )


@triton.jit
@no_type_check
def vector_decay_state_gradient_kernel(
    keys_at,
    values_at,
    since_start_at,
    states_at,
    state_gradients_at,
    above_at,
    query_from_state_at,
    key_from_state_at,
    total_gradient_at,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    above_batch,
    above_head,
    above_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of K, B H): the states' part of dq and dk (B, H, N, K), and dtotal."""
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start, key_column = tl.program_id(0) * CHUNK, tl.program_id(1) * BLOCK_WIDTH
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    offset = chunk * WIDTH * VALUE_WIDTH + tl.cast(key_column, tl.int64) * VALUE_WIDTH
    values_at += batch * value_batch + head * value_head
    above_at += batch * above_batch + head * above_head
    since_start_at += pair * length * WIDTH
    to_query = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)
    to_key = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)
    kept = tl.full((BLOCK_WIDTH,), 0.0, tl.float32)
    for column in range(0, VALUE_WIDTH, BLOCK_VALUE_WIDTH):
        value = load_columns(
            values_at, start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        above = load_columns(
            above_at, start, length, above_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        state = load_columns(
            states_at + offset,
            0, WIDTH - key_column, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH,
            BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        change = load_columns(
            state_gradients_at + offset,
            0, WIDTH - key_column, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH,
            BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        to_query = tl.dot(
            above.to(state.dtype), tl.trans(state), to_query, input_precision=PRECISION
        )
        to_key = tl.dot(value.to(state.dtype), tl.trans(change), to_key, input_precision=PRECISION)
        kept += tl.sum(state.to(tl.float32) * change.to(tl.float32), 1)

    key = load_columns(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    since = load_columns(
        since_start_at, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH
    )
    total = sum_at(
        since_start_at, start + CHUNK - 1, (start >= 0), length, key_column, WIDTH, BLOCK_WIDTH
    )
    to_query = to_query * tl.exp2(since)
    to_key = to_key * tl.exp2(tl.minimum(total[None, :] - since, 0.0))
    to_total = tl.exp2(total) * kept + tl.sum(key.to(tl.float32) * to_key, 0)
    columns = key_column + tl.arange(0, BLOCK_WIDTH)
    tl.store(total_gradient_at + chunk * WIDTH + columns, to_total, mask=columns < WIDTH)
    store_columns(
        query_from_state_at + pair * length * WIDTH,
        to_query, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    store_columns(
        key_from_state_at + pair * length * WIDTH,
        to_key, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
