"""Vector decay within a chunk: each channel of a pair decays on its own.

A_ij = sum_c q_ic k_jc exp(G_ic - G_jc) for j <= i, else 0

exp(G_i) and exp(-G_j) apart would overflow. A chunk is cut into parts of 16 tokens. A part of
queries meets all earlier parts through the moment m before its first token, as exp(G_i - G_m) and
exp(G_m - G_j), both at most 1, in one product of matrices; pairs within a part are summed channel
by channel (Yang et al., 2023, "Gated Linear Attention Transformers", arXiv 2312.06635, section
4.3). G is in powers of 2, summed from the chunk's first token.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import LOG2_E, load_columns, load_rows, store_columns, store_rows


@triton.jit
@no_type_check
def sums_within_chunks_kernel(
    log_decay_at,
    since_start_at,
    length,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Grid (chunks, tiles of K, B H): G from the log-decays, both (B, H, N, K)."""
    offset = tl.program_id(2).to(tl.int64) * length * WIDTH
    start, column = tl.program_id(0) * CHUNK, tl.program_id(1) * BLOCK_WIDTH
    decay = load_columns(
        log_decay_at + offset, start, length, WIDTH, column, WIDTH, CHUNK, BLOCK_WIDTH
    )
    store_columns(
        since_start_at + offset,
        tl.cumsum(decay * LOG2_E, 0), start, length, WIDTH, column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def decay_gradient_kernel(
    since_gradient_at,
    total_gradient_at,
    decay_gradient_at,
    length,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Grid (chunks, tiles of K, B H): a log-decay is in G of its token and later, and in total."""
    offset = tl.program_id(2).to(tl.int64) * length * WIDTH
    start, column = tl.program_id(0) * CHUNK, tl.program_id(1) * BLOCK_WIDTH
    to_since = load_columns(
        since_gradient_at + offset, start, length, WIDTH, column, WIDTH, CHUNK, BLOCK_WIDTH
    )
    columns = column + tl.arange(0, BLOCK_WIDTH)
    chunk = tl.program_id(2).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    to_total = tl.load(
        total_gradient_at + chunk * WIDTH + columns, mask=columns < WIDTH, other=0.0
    )
    later = tl.sum(to_since, 0)[None, :] - tl.cumsum(to_since, 0) + to_since
    store_columns(
        decay_gradient_at + offset,
        later + to_total[None, :], start, length, WIDTH, column, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def decayed_scores_kernel(
    queries_at,
    keys_at,
    since_start_at,
    scores_at,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    PART: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (parts, B H): the rows of A (B, H, chunks, C, C) that belong to a part of queries."""
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    first = tl.program_id(0) * PART
    start = first // CHUNK * CHUNK
    keys_at += batch * key_batch + head * key_head
    since_start_at += pair * length * WIDTH
    columns = tl.arange(0, BLOCK_WIDTH)
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        first, length, query_row, WIDTH, PART, BLOCK_WIDTH,
    )  # fmt: skip
    since = load_rows(since_start_at, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH)
    key = load_rows(keys_at, start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH)
    key_since = load_rows(since_start_at, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH)
    moment = sum_at(since_start_at, first - 1, (first > start), length, 0, WIDTH, BLOCK_WIDTH)
    tokens = start + tl.arange(0, CHUNK)
    earlier = (tokens < first)[:, None]
    decayed = key * tl.exp2(tl.where(earlier, moment[None, :] - key_since, float("-inf")))
    # Rows beyond the end have G = 0: without the bound their weight would be inf, and inf x 0 NaN.
    asking = query * tl.exp2(tl.minimum(since - moment[None, :], 0.0))
    scores = tl.dot(
        asking.to(query.dtype), tl.trans(decayed.to(key.dtype)), input_precision=PRECISION
    )
    rows = first + tl.arange(0, PART)
    for step in range(PART):
        token = first + step
        exists = (columns < WIDTH) & (token < length)
        one_key = tl.load(
            keys_at + tl.cast(token, tl.int64) * key_row + columns, mask=exists, other=0.0
        )
        one_since = tl.load(since_start_at + token * WIDTH + columns, mask=exists, other=0.0)
        left = tl.exp2(tl.minimum(since - one_since[None, :], 0.0))
        score = tl.sum(query.to(tl.float32) * left * one_key.to(tl.float32)[None, :], 1)
        own = (tokens == token)[None, :] & (rows >= token)[:, None]
        scores = tl.where(own, score[:, None], scores)
    store_rows(
        scores_at + pair * ((length + CHUNK - 1) // CHUNK * CHUNK) * CHUNK,
        scores, first, first + PART, CHUNK, CHUNK, PART, CHUNK,
    )  # fmt: skip


@triton.jit
@no_type_check
def sum_at(
    since_start_at,
    token,
    exists,
    length,
    column,
    WIDTH: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
):
    """Load G of one token from a column on (of the last token, if the sequence ends before).

    It is 0 if not `exists`.
    """
    columns = column + tl.arange(0, BLOCK_WIDTH)
    place = since_start_at + tl.cast(tl.minimum(token, length - 1), tl.int64) * WIDTH + columns
    return tl.load(place, mask=(columns < WIDTH) & exists, other=0.0)


@triton.jit
@no_type_check
def within_gradient_kernel(
    queries_at,
    keys_at,
    since_start_at,
    score_gradient_at,
    query_from_state_at,
    key_from_state_at,
    query_gradient_at,
    key_gradient_at,
    since_gradient_at,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    PART: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (parts, B H): dq and dk of a part, what the states gave added to what A gives.

    dq_i = sum_j dA_ij k_j exp(G_i - G_j), dk_j = sum_i dA_ij q_i exp(G_i - G_j), and since every
    q_i stands with exp(G_i) and k_i with exp(-G_i), dG = q dq - k dk in each channel.
    """
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    first = tl.program_id(0) * PART
    start = first // CHUNK * CHUNK
    queries_at += batch * query_batch + head * query_head
    keys_at += batch * key_batch + head * key_head
    since_start_at += pair * length * WIDTH
    score_gradient_at += pair * ((length + CHUNK - 1) // CHUNK * CHUNK) * CHUNK
    offset = pair * length * WIDTH
    columns, tokens = tl.arange(0, BLOCK_WIDTH), start + tl.arange(0, CHUNK)
    rows = first + tl.arange(0, PART)
    query = load_rows(queries_at, first, length, query_row, WIDTH, PART, BLOCK_WIDTH)
    key = load_rows(keys_at, first, length, key_row, WIDTH, PART, BLOCK_WIDTH)
    since = load_rows(since_start_at, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH)
    others_since = load_rows(since_start_at, start, length, WIDTH, WIDTH, CHUNK, BLOCK_WIDTH)

    # The part as queries: rows of dA against all earlier keys, through the moment before it.
    moment = sum_at(since_start_at, first - 1, (first > start), length, 0, WIDTH, BLOCK_WIDTH)
    others = load_rows(keys_at, start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH)
    earlier = (tokens < first)[:, None]
    others = others * tl.exp2(tl.where(earlier, moment[None, :] - others_since, float("-inf")))
    above = load_rows(score_gradient_at, first, first + PART, CHUNK, CHUNK, PART, CHUNK)
    query_gradient = tl.dot(above, others.to(above.dtype), input_precision=PRECISION)
    query_gradient = query_gradient * tl.exp2(tl.minimum(since - moment[None, :], 0.0))

    # The part as keys: columns of dA against all later queries, through the part's last token.
    moment = sum_at(
        since_start_at, first + PART - 1, (first >= start), length, 0, WIDTH, BLOCK_WIDTH
    )
    others = load_rows(queries_at, start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH)
    later = ((tokens >= first + PART) & (tokens < length))[:, None]
    others = others * tl.exp2(tl.where(later, others_since - moment[None, :], float("-inf")))
    aside = tl.load(
        score_gradient_at + tokens[None, :].to(tl.int64) * CHUNK + (rows - start)[:, None]
    )
    key_gradient = tl.dot(aside, others.to(aside.dtype), input_precision=PRECISION)
    # Rows beyond the end have G = 0 here, not the last G: they are not stored, but stay finite.
    key_gradient = key_gradient * tl.exp2(tl.minimum(moment[None, :] - since, 0.0))

    for step in range(PART):
        token = first + step
        exists = (columns < WIDTH) & (token < length)
        one_query = tl.load(
            queries_at + tl.cast(token, tl.int64) * query_row + columns, mask=exists, other=0.0
        )
        one_key = tl.load(
            keys_at + tl.cast(token, tl.int64) * key_row + columns, mask=exists, other=0.0
        )
        one_since = tl.load(since_start_at + token * WIDTH + columns, mask=exists, other=0.0)
        place = score_gradient_at + (token - start)
        column = tl.load(place + rows.to(tl.int64) * CHUNK).to(tl.float32)
        left = tl.exp2(tl.minimum(since - one_since[None, :], 0.0))
        column = tl.where(rows >= token, column, 0.0)
        query_gradient += column[:, None] * left * one_key.to(tl.float32)[None, :]
        row = tl.load(score_gradient_at + tl.cast(token, tl.int64) * CHUNK + rows - start)
        row = tl.where(rows <= token, row.to(tl.float32), 0.0)
        left = tl.exp2(tl.minimum(one_since[None, :] - since, 0.0))
        key_gradient += row[:, None] * left * one_query.to(tl.float32)[None, :]

    query_gradient += load_rows(
        query_from_state_at + offset, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH
    )
    key_gradient += load_rows(
        key_from_state_at + offset, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH
    )
    since_gradient = query.to(tl.float32) * query_gradient - key.to(tl.float32) * key_gradient
    store_rows(
        query_gradient_at + offset,
        query_gradient, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH,
    )  # fmt: skip
    store_rows(
        key_gradient_at + offset, key_gradient, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH
    )
    store_rows(
        since_gradient_at + offset, since_gradient, first, length, WIDTH, WIDTH, PART, BLOCK_WIDTH
    )
