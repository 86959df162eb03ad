"""The delta rule: all gradients of a chunk, from its states, u, dE and dO.

With X_i = exp(G_i) S dE_i, Y_i = exp(total - G_i) dS' u_i, P and A as in `_triton_states.py` and
`_triton_solve.py`, dP = dO u^T on and below the diagonal and dA = -dE u^T below it,

dV = b dE                       dQ = exp(G) dO S^T + (w dP) K
dK = Y - b X + (w dP)^T Q + (b w dA) K + (b w dA)^T K
db_i = dE_i . v_i - k_i . X_i + sum_j dA_ij w_ij (k_i . k_j)

The exponents: G_i gets q_i . dq_i, - k_i . Y_i, - b_i k_i . X_i, row sums of dA A less its column
sums, and less the column sums of dP P; total gets exp(total) <S, dS'> + sum_i k_i . Y_i. A
log-decay is in G of its token and of all later ones of the chunk, and in total.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, load_rows, store_columns, store_rows
from cab.kernels.linear._triton_states import since_start_of_chunk
from cab.kernels.scalar_decay._triton_chunks import weights_between


@triton.jit
@no_type_check
def delta_gradient_kernel(
    queries_at,
    keys_at,
    values_at,
    strength_at,
    log_decay_at,
    states_at,
    state_gradients_at,
    written_at,
    error_gradient_at,
    above_at,
    query_gradient_at,
    key_gradient_at,
    value_gradient_at,
    strength_gradient_at,
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
    PRECISION: tl.constexpr,
):
    """Grid (chunks, B H). The gradients are contiguous, (B, H, N, ..)."""
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    offset = (pair * tl.num_programs(0) + tl.program_id(0)) * WIDTH * VALUE_WIDTH
    values_at += batch * value_batch + head * value_head
    above_at += batch * above_batch + head * above_head
    written_at += pair * length * VALUE_WIDTH
    error_gradient_at += pair * length * VALUE_WIDTH
    value_gradient_at += pair * length * VALUE_WIDTH
    rows = start + tl.arange(0, CHUNK)
    tokens = tl.arange(0, CHUNK)
    strength = tl.load(strength_at + pair * length + rows, mask=rows < length, other=0.0)
    since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)

    to_query = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)
    found = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)  # X
    wrote = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)  # Y
    to_scores = tl.full((CHUNK, CHUNK), 0.0, tl.float32)  # dP
    to_overlaps = tl.full((CHUNK, CHUNK), 0.0, tl.float32)  # -dA
    to_strength = tl.full((CHUNK,), 0.0, tl.float32)
    kept = tl.full((BLOCK_WIDTH,), 0.0, tl.float32)
    for column in range(0, VALUE_WIDTH, BLOCK_VALUE_WIDTH):
        state = load_columns(
            states_at + offset,
            0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        change = load_columns(
            state_gradients_at + offset,
            0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        written = load_columns(
            written_at, start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        to_error = load_columns(
            error_gradient_at,
            start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        above = load_columns(
            above_at, start, length, above_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        value = load_columns(
            values_at, start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        kept += tl.sum(state.to(tl.float32) * change.to(tl.float32), 1)
        to_strength += tl.sum(to_error.to(tl.float32) * value.to(tl.float32), 1)
        store_columns(
            value_gradient_at,
            to_error * strength[:, None],
            start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        to_scores = tl.dot(
            above, tl.trans(written.to(above.dtype)), to_scores, input_precision=PRECISION
        )
        to_overlaps = tl.dot(to_error, tl.trans(written), to_overlaps, input_precision=PRECISION)
        to_query = tl.dot(
            above.to(state.dtype), tl.trans(state), to_query, input_precision=PRECISION
        )
        found = tl.dot(to_error.to(state.dtype), tl.trans(state), found, input_precision=PRECISION)
        wrote = tl.dot(written.to(state.dtype), tl.trans(change), wrote, input_precision=PRECISION)

    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_rows(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    weights = weights_between(since, CHUNK)
    read = tl.exp2(since)[:, None]
    to_query, found = to_query * read, found * read
    wrote = wrote * tl.exp2(total - since)[:, None]
    wide = key.to(tl.float32)
    key_found, key_wrote = tl.sum(wide * found, 1), tl.sum(wide * wrote, 1)
    to_total = tl.exp2(total) * tl.sum(kept, 0) + tl.sum(key_wrote, 0)
    to_strength -= key_found
    to_key = wrote - strength[:, None] * found
    to_since = -key_wrote - strength * key_found

    overlaps = tl.dot(key, tl.trans(key), input_precision=PRECISION) * weights
    to_overlaps = tl.where(tokens[:, None] > tokens[None, :], -to_overlaps, 0.0)
    products = to_overlaps * overlaps  # dA A / b
    to_strength += tl.sum(products, 1)
    products = products * strength[:, None]
    to_since += tl.sum(products, 1) - tl.sum(products, 0)
    to_overlaps = (to_overlaps * weights * strength[:, None]).to(key.dtype)
    to_key = tl.dot(to_overlaps, key, to_key, input_precision=PRECISION)
    to_key = tl.dot(tl.trans(to_overlaps), key, to_key, input_precision=PRECISION)

    to_scores = to_scores * weights
    scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
    to_since -= tl.sum(to_scores * scores, 0)
    to_scores = to_scores.to(key.dtype)
    to_query = tl.dot(to_scores, key, to_query, input_precision=PRECISION)
    to_key = tl.dot(tl.trans(to_scores), query, to_key, input_precision=PRECISION)
    to_since += tl.sum(query.to(tl.float32) * to_query, 1)

    later = tl.sum(to_since, 0) - tl.cumsum(to_since, 0) + to_since
    scalars = pair * length + rows
    tl.store(decay_gradient_at + scalars, later + to_total, mask=rows < length)
    tl.store(strength_gradient_at + scalars, to_strength, mask=rows < length)
    store_rows(
        query_gradient_at + pair * length * WIDTH,
        to_query, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    store_rows(
        key_gradient_at + pair * length * WIDTH,
        to_key, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
