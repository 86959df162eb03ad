"""The delta rule: all gradients of a chunk, from its states, u, dE and dO.

With X_i = exp(G_i) S dE_i, Y_i = exp(total - G_i) dS' u_i, P and A as in `_triton_states.py` and
`_triton_solve.py`, dP = dO u^T on and below the diagonal and dA = -dE u^T below it,

dV = b dE                       dQ = exp(G) dO S^T + (w dP) K
dK = Y - b X + (w dP)^T Q + (b w dA) K + (b w dA)^T K
db_i = dE_i . v_i - k_i . X_i + sum_j dA_ij w_ij (k_i . k_j)

The exponents: G_i gets q_i . dq_i, - k_i . Y_i, - b_i k_i . X_i, row sums of dA A less its column
sums, and less the column sums of dP P; total gets exp(total) <S, dS'> + sum_i k_i . Y_i. A
log-decay is in G of its token and of all later ones of the chunk, and in total.

The first kernel makes what pairs of tokens give, w dP and b w dA among it; the second, by columns
of K, what goes through the states, and dQ and dK. Both leave shares of db and dG: one program
with all of it would need more registers than there are. The share of total is left by columns of
K (why: `kernels/scalar_decay/_triton_gradients.py`).
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
def delta_pairs_kernel(
    queries_at,
    keys_at,
    values_at,
    strength_at,
    log_decay_at,
    written_at,
    error_gradient_at,
    above_at,
    value_gradient_at,
    score_gradient_at,
    overlap_gradient_at,
    strength_share_at,
    since_share_at,
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
    shares,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, B H): dv (B, H, N, V); w dP and b w dA (B, H, chunks, C, C); share 0 of all.

    The shares are (B, H, shares, N), those of dG summed to the end of a chunk.
    """
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    queries_at += batch * query_batch + head * query_head
    keys_at += batch * key_batch + head * key_head
    values_at += batch * value_batch + head * value_head
    above_at += batch * above_batch + head * above_head
    written_at += pair * length * VALUE_WIDTH
    error_gradient_at += pair * length * VALUE_WIDTH
    value_gradient_at += pair * length * VALUE_WIDTH
    tokens = tl.arange(0, CHUNK)
    rows = start + tokens
    strength = tl.load(strength_at + pair * length + rows, mask=rows < length, other=0.0)
    to_scores = tl.full((CHUNK, CHUNK), 0.0, tl.float32)  # dP
    to_overlaps = tl.full((CHUNK, CHUNK), 0.0, tl.float32)  # -dA
    to_strength = tl.full((CHUNK,), 0.0, tl.float32)
    for column in range(0, VALUE_WIDTH, BLOCK_VALUE_WIDTH):
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

    overlaps = tl.full((CHUNK, CHUNK), 0.0, tl.float32)
    scores = tl.full((CHUNK, CHUNK), 0.0, tl.float32)
    for column in range(0, WIDTH, BLOCK_WIDTH):
        query = load_columns(
            queries_at, start, length, query_row, column, WIDTH, CHUNK, BLOCK_WIDTH
        )
        key = load_columns(keys_at, start, length, key_row, column, WIDTH, CHUNK, BLOCK_WIDTH)
        overlaps = tl.dot(key, tl.trans(key), overlaps, input_precision=PRECISION)
        scores = tl.dot(query, tl.trans(key), scores, input_precision=PRECISION)
    since, _ = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
    weights = weights_between(since, CHUNK)
    to_overlaps = tl.where(tokens[:, None] > tokens[None, :], -to_overlaps * weights, 0.0)
    products = to_overlaps * overlaps  # dA A / b
    to_strength += tl.sum(products, 1)
    to_overlaps = to_overlaps * strength[:, None]
    products = products * strength[:, None]
    to_scores = to_scores * weights
    to_since = tl.sum(products, 1) - tl.sum(products + to_scores * scores, 0)
    share = pair * shares * length + rows
    tl.store(strength_share_at + share, to_strength, mask=rows < length)
    tl.store(since_share_at + share, tl.cumsum(to_since, 0, reverse=True), mask=rows < length)
    square = chunk * CHUNK * CHUNK
    store_rows(score_gradient_at + square, to_scores, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)
    store_rows(overlap_gradient_at + square, to_overlaps, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)


@triton.jit
@no_type_check
def delta_gradient_kernel(
    queries_at,
    keys_at,
    strength_at,
    log_decay_at,
    states_at,
    state_gradients_at,
    written_at,
    error_gradient_at,
    above_at,
    score_gradient_at,
    overlap_gradient_at,
    query_gradient_at,
    key_gradient_at,
    strength_share_at,
    since_share_at,
    total_gradient_at,
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
    shares,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of K, B H): dq and dk (B, H, N, K), dtotal (B, H, chunks, K), shares.

    Tile i of K leaves share i + 1 of db and of dG.
    """
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start, key_column = tl.program_id(0) * CHUNK, tl.program_id(1) * BLOCK_WIDTH
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    offset = chunk * WIDTH * VALUE_WIDTH + tl.cast(key_column, tl.int64) * VALUE_WIDTH
    above_at += batch * above_batch + head * above_head
    written_at += pair * length * VALUE_WIDTH
    error_gradient_at += pair * length * VALUE_WIDTH
    to_query = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)
    found = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)  # X
    wrote = tl.full((CHUNK, BLOCK_WIDTH), 0.0, tl.float32)  # Y
    kept = tl.full((BLOCK_WIDTH,), 0.0, tl.float32)
    for column in range(0, VALUE_WIDTH, BLOCK_VALUE_WIDTH):
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
        kept += tl.sum(state.to(tl.float32) * change.to(tl.float32), 1)
        to_query = tl.dot(
            above.to(state.dtype), tl.trans(state), to_query, input_precision=PRECISION
        )
        found = tl.dot(to_error.to(state.dtype), tl.trans(state), found, input_precision=PRECISION)
        wrote = tl.dot(written.to(state.dtype), tl.trans(change), wrote, input_precision=PRECISION)

    query = load_columns(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_columns(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    rows = start + tl.arange(0, CHUNK)
    strength = tl.load(strength_at + pair * length + rows, mask=rows < length, other=0.0)
    since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
    read = tl.exp2(since)[:, None]
    to_query, found = to_query * read, found * read
    wrote = wrote * tl.exp2(total - since)[:, None]
    wide = key.to(tl.float32)
    to_total = tl.exp2(total) * kept + tl.sum(wide * wrote, 0)
    columns = key_column + tl.arange(0, BLOCK_WIDTH)
    tl.store(total_gradient_at + chunk * WIDTH + columns, to_total, mask=columns < WIDTH)
    to_strength = -tl.sum(wide * found, 1)
    to_since = strength * to_strength - tl.sum(wide * wrote, 1)
    to_key = wrote - strength[:, None] * found

    square = chunk * CHUNK * CHUNK
    to_overlaps = load_rows(overlap_gradient_at + square, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)
    to_key = tl.dot(to_overlaps, key, to_key, input_precision=PRECISION)
    to_key = tl.dot(tl.trans(to_overlaps), key, to_key, input_precision=PRECISION)
    to_scores = load_rows(score_gradient_at + square, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)
    to_query = tl.dot(to_scores, key, to_query, input_precision=PRECISION)
    to_key = tl.dot(tl.trans(to_scores), query, to_key, input_precision=PRECISION)
    to_since += tl.sum(query.to(tl.float32) * to_query, 1)

    share = (pair * shares + tl.program_id(1) + 1) * length + rows
    tl.store(strength_share_at + share, to_strength, mask=rows < length)
    tl.store(since_share_at + share, tl.cumsum(to_since, 0, reverse=True), mask=rows < length)
    store_columns(
        query_gradient_at + pair * length * WIDTH,
        to_query, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    store_columns(
        key_gradient_at + pair * length * WIDTH,
        to_key, start, length, WIDTH, key_column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
