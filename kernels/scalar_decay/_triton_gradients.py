"""Linear attention with scalar decay within chunks: the gradients.

With S the state before the chunk, dS the gradient of the state after it, total the last G,
P = w (Q K^T) and dP = w (dO V^T), both zero above the diagonal (w as in `_triton_chunks.py`),

dQ = exp(G) dO S^T + dP K              dV = P^T dO + exp(total - G) K dS
dK = exp(total - G) V dS^T + dP^T Q

Every q_i stands with exp(G_i) and every k_i with exp(-G_i), so dG_i = q_i . dq_i - k_i . dk_i, and
total gets exp(total) <S, dS> + sum_i k_i . (exp(total - G_i) dS v_i). The log-decay of token t is
in G_t, in all later ones of its chunk, and in total: the sum runs over a chunk and no further, so
nothing large cancels.

dV is found by columns of V, dQ and dK by columns of K: a program that held a whole chunk of all
three would need more registers than there are. The gradient of the log-decays is linear in the
columns of K: each program leaves its share of G's part, and total's part by columns (Triton 3.7
breaks off on sm_100 where a sum over a product's columns is summed over its rows too).
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, load_rows, store_columns
from cab.kernels.linear._triton_states import since_start_of_chunk
from cab.kernels.scalar_decay._triton_chunks import weights_between


@triton.jit
@no_type_check
def scalar_decay_value_gradient_kernel(
    queries_at,
    keys_at,
    log_decay_at,
    state_gradients_at,
    above_at,
    value_gradient_at,
    query_batch,
    query_head,
    query_row,
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
    DECAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of V, B H): dv, contiguous (B, H, N, V)."""
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    column = tl.program_id(1) * BLOCK_VALUE_WIDTH
    state_gradients_at += (pair * tl.num_programs(0) + tl.program_id(0)) * WIDTH * VALUE_WIDTH
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_rows(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    above = load_columns(
        above_at + batch * above_batch + head * above_head,
        start, length, above_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    change = load_columns(
        state_gradients_at,
        0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    # Transposed from the start, (keys, queries): what is multiplied next lies as it is needed.
    scores = tl.dot(key, tl.trans(query), input_precision=PRECISION)
    gradient = tl.dot(key.to(change.dtype), change, input_precision=PRECISION)
    if DECAY == "scalar":
        since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        gradient = gradient * tl.exp2(total - since)[:, None]
        scores = scores * tl.trans(weights_between(since, CHUNK))
    else:
        tokens = tl.arange(0, CHUNK)
        scores = tl.where(tokens[:, None] <= tokens[None, :], scores, 0.0)
    gradient = tl.dot(scores.to(above.dtype), above, gradient, input_precision=PRECISION)
    store_columns(
        value_gradient_at + pair * length * VALUE_WIDTH,
        gradient, start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def scalar_decay_gradient_kernel(
    queries_at,
    keys_at,
    values_at,
    log_decay_at,
    states_at,
    state_gradients_at,
    above_at,
    query_gradient_at,
    key_gradient_at,
    since_share_at,
    total_gradient_at,
    query_batch,
    query_head,
    query_row,
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
    DECAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of K, B H): dq and dk, contiguous (B, H, N, K), and what dg is made of.

    The shares of dG, summed to the end of a chunk, are (B, H, tiles of K, N), dtotal by columns
    (B, H, chunks, K).
    """
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    key_column = tl.program_id(1) * BLOCK_WIDTH
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    offset = chunk * WIDTH * VALUE_WIDTH
    offset += tl.cast(key_column, tl.int64) * VALUE_WIDTH
    values_at += batch * value_batch + head * value_head
    above_at += batch * above_batch + head * above_head
    query_gradient = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)
    key_gradient = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)
    score_gradient = tl.full((CHUNK, CHUNK), 0.0, tl.float32)
    kept = tl.full((BLOCK_WIDTH,), 0.0, tl.float32)  # the rows of S dS, summed
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
        score_gradient = tl.dot(above, tl.trans(value), score_gradient, input_precision=PRECISION)
        query_gradient = tl.dot(
            above.to(state.dtype), tl.trans(state), query_gradient, input_precision=PRECISION
        )
        key_gradient = tl.dot(
            value.to(state.dtype), tl.trans(change), key_gradient, input_precision=PRECISION
        )
        if DECAY == "scalar":
            kept += tl.sum(state.to(tl.float32) * change.to(tl.float32), 1)

    query = load_columns(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_columns(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    if DECAY == "scalar":
        since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        query_gradient = query_gradient * tl.exp2(since)[:, None]
        key_gradient = key_gradient * tl.exp2(total - since)[:, None]
        to_total = tl.exp2(total) * kept + tl.sum(key.to(tl.float32) * key_gradient, 0)
        columns = key_column + tl.arange(0, BLOCK_WIDTH)
        tl.store(total_gradient_at + chunk * WIDTH + columns, to_total, mask=columns < WIDTH)
        score_gradient = score_gradient * weights_between(since, CHUNK)
    else:
        tokens = tl.arange(0, CHUNK)
        score_gradient = tl.where(tokens[:, None] >= tokens[None, :], score_gradient, 0.0)
    score_gradient = score_gradient.to(key.dtype)
    query_gradient = tl.dot(score_gradient, key, query_gradient, input_precision=PRECISION)
    key_gradient = tl.dot(tl.trans(score_gradient), query, key_gradient, input_precision=PRECISION)
    if DECAY == "scalar":
        to_since = tl.sum(
            query.to(tl.float32) * query_gradient - key.to(tl.float32) * key_gradient, 1
        )
        later = tl.cumsum(to_since, 0, reverse=True)
        share = (pair * tl.num_programs(1) + tl.program_id(1)) * length
        rows = start + tl.arange(0, CHUNK)
        tl.store(since_share_at + share + rows, later, mask=rows < length)
    store_columns(
        query_gradient_at + pair * length * WIDTH,
        query_gradient, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    store_columns(
        key_gradient_at + pair * length * WIDTH,
        key_gradient, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
