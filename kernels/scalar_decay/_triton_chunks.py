"""Linear attention with scalar decay within chunks: the output, and all gradients in one kernel.

o_i = exp(G_i) q_i S + sum_{j <= i} w_ij (q_i . k_j) v_j        w_ij = exp(G_i - G_j)

S is the state before the chunk, dS the gradient of the state after it, total the last G. With
P = w (Q K^T) and dP = w (dO V^T), both zero above the diagonal,

dQ = exp(G) dO S^T + dP K              dV = P^T dO + exp(total - G) K dS
dK = exp(total - G) V dS^T + dP^T Q

Every q_i stands with exp(G_i) and every k_i with exp(-G_i), so dG_i = q_i . dq_i - k_i . dk_i, and
total gets exp(total) <S, dS> + sum_i k_i . (exp(total - G_i) dS v_i). The log-decay of token t is
in G_t, in all later ones of its chunk, and in total: the sum runs over a chunk and no further, so
nothing large cancels.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, load_rows, store_columns, store_rows
from cab.kernels.linear._triton_states import since_start_of_chunk


@triton.jit
@no_type_check
def weights_between(since, CHUNK: tl.constexpr):
    """Return w: what is left at token i of what token j wrote, 0 where j > i."""
    tokens = tl.arange(0, CHUNK)
    past = tokens[:, None] >= tokens[None, :]
    # Chosen before exp2: the future's differences are positive and may overflow.
    return tl.exp2(tl.where(past, since[:, None] - since[None, :], float("-inf")))


@triton.jit
@no_type_check
def scalar_decay_output_kernel(
    queries_at,
    keys_at,
    values_at,
    log_decay_at,
    states_at,
    out_at,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_row,
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
    DECAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of V, B H)."""
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    column = tl.program_id(1) * BLOCK_VALUE_WIDTH
    states_at += (pair * tl.num_programs(0) + tl.program_id(0)) * WIDTH * VALUE_WIDTH
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_rows(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    value = load_columns(
        values_at + batch * value_batch + head * value_head,
        start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    state = load_columns(
        states_at, 0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH
    )
    out = tl.dot(query.to(state.dtype), state, input_precision=PRECISION)
    scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
    if DECAY == "scalar":
        since, _ = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        out = out * tl.exp2(since)[:, None]
        scores = scores * weights_between(since, CHUNK)
    else:
        tokens = tl.arange(0, CHUNK)
        scores = tl.where(tokens[:, None] >= tokens[None, :], scores, 0.0)
    out = tl.dot(scores.to(value.dtype), value, out, input_precision=PRECISION)
    store_columns(
        out_at + batch * out_batch + head * out_head,
        out, start, length, out_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
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
    value_gradient_at,
    decay_gradient_at,
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
    """Grid (chunks, B H). The gradients are contiguous, (B, H, N, ..)."""
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    offset = (pair * tl.num_programs(0) + tl.program_id(0)) * WIDTH * VALUE_WIDTH
    values_at += batch * value_batch + head * value_head
    above_at += batch * above_batch + head * above_head
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_rows(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    if DECAY == "scalar":
        since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        weights = weights_between(since, CHUNK)
        read, written = tl.exp2(since)[:, None], tl.exp2(total - since)[:, None]
    else:
        tokens = tl.arange(0, CHUNK)
        weights = tl.where(tokens[:, None] >= tokens[None, :], 1.0, 0.0)
    scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * weights
    scores = scores.to(key.dtype)

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
            0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        change = load_columns(
            state_gradients_at + offset,
            0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        score_gradient = tl.dot(above, tl.trans(value), score_gradient, input_precision=PRECISION)
        query_gradient = tl.dot(
            above.to(state.dtype), tl.trans(state), query_gradient, input_precision=PRECISION
        )
        key_gradient = tl.dot(
            value.to(state.dtype), tl.trans(change), key_gradient, input_precision=PRECISION
        )
        value_gradient = tl.dot(key.to(state.dtype), change, input_precision=PRECISION)
        if DECAY == "scalar":
            value_gradient = value_gradient * written
            kept += tl.sum(state.to(tl.float32) * change.to(tl.float32), 1)
        value_gradient = tl.dot(tl.trans(scores), above, value_gradient, input_precision=PRECISION)
        store_columns(
            value_gradient_at + pair * length * VALUE_WIDTH,
            value_gradient, start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK,
            BLOCK_VALUE_WIDTH,
        )  # fmt: skip

    if DECAY == "scalar":
        query_gradient = query_gradient * read
        key_gradient = key_gradient * written
        to_total = tl.exp2(total) * tl.sum(kept, 0)
        to_total += tl.sum(tl.sum(key.to(tl.float32) * key_gradient, 1), 0)
    score_gradient = (score_gradient * weights).to(key.dtype)
    query_gradient = tl.dot(score_gradient, key, query_gradient, input_precision=PRECISION)
    key_gradient = tl.dot(tl.trans(score_gradient), query, key_gradient, input_precision=PRECISION)
    if DECAY == "scalar":
        to_since = tl.sum(
            query.to(tl.float32) * query_gradient - key.to(tl.float32) * key_gradient, 1
        )
        later = tl.sum(to_since, 0) - tl.cumsum(to_since, 0) + to_since
        rows = start + tl.arange(0, CHUNK)
        tl.store(decay_gradient_at + pair * length + rows, later + to_total, mask=rows < length)
    store_rows(
        query_gradient_at + pair * length * WIDTH,
        query_gradient, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    store_rows(
        key_gradient_at + pair * length * WIDTH,
        key_gradient, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
