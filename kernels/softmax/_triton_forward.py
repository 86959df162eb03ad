"""Softmax attention on a GPU, forward: one pass over the keys, no scores in memory.

o_i = sum_j p_ij v_j,  p_ij = exp(s_ij) / sum_j exp(s_ij),  s_ij = scale q_i . k_j

A program holds a tile of queries and walks over the blocks of keys that they see. It keeps the
running maximum m, the running sum l and the output of each row, and rescales both when m rises
(Dao, 2023, "FlashAttention-2", arXiv 2307.08691, after Milakov, Gimelshein, 2018, arXiv
1805.02867). All exponentials are powers of 2, with log2(e) folded into the scale. For the
backward pass it leaves log2 sum_j exp(s_ij) per row; +inf where a row sees nothing, so that its
weights are 0 there and not NaN.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_rows, store_rows
from cab.kernels.softmax._band import in_band, visible_blocks


@triton.jit
@no_type_check
def softmax_forward_kernel(
    queries_at,
    keys_at,
    values_at,
    out_at,
    log_sum_at,
    absent_at,
    list_at,
    count_at,
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
    absent_batch,
    list_batch,
    list_head,
    list_row,
    heads,
    group,
    queries,
    keys,
    left,
    right,
    scale,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    HAS_LEFT: tl.constexpr,
    HAS_RIGHT: tl.constexpr,
    PADDED: tl.constexpr,
    LISTED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (blocks of queries, B H). `scale` has log2(e); `group` query heads share a key head."""
    tile = tl.program_id(0)
    if HAS_RIGHT:
        # The tiles with the most keys start first, so that the last to end are short.
        tile = tl.num_programs(0) - 1 - tile
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    first = tile * BLOCK_QUERIES
    keys_at += batch * key_batch + head // group * key_head
    values_at += batch * value_batch + head // group * value_head
    absent_at += batch * absent_batch
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        first, queries, query_row, WIDTH, BLOCK_QUERIES, BLOCK_WIDTH,
    )  # fmt: skip

    highest = tl.full((BLOCK_QUERIES,), float("-inf"), tl.float32)
    total = tl.full((BLOCK_QUERIES,), 0.0, tl.float32)
    out = tl.full((BLOCK_QUERIES, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    if LISTED:
        list_at += batch * list_batch + head * list_head + tile * list_row
        end = tl.load(count_at + tl.program_id(1) * tl.num_programs(0) + tile)
        highest, total, out = _attend(
            highest, total, out, query, keys_at, values_at, absent_at, list_at, key_row, value_row,
            first, 0, end, keys, left, right, scale, WIDTH, VALUE_WIDTH, BLOCK_QUERIES, BLOCK_KEYS,
            BLOCK_WIDTH, BLOCK_VALUE_WIDTH, HAS_LEFT, HAS_RIGHT, PADDED, True, True, PRECISION,
        )  # fmt: skip
    else:
        low, full_low, full_high, end = visible_blocks(
            first, BLOCK_QUERIES, left, right, keys, BLOCK_KEYS, HAS_LEFT, HAS_RIGHT
        )
        if HAS_LEFT:
            highest, total, out = _attend(
                highest, total, out, query, keys_at, values_at, absent_at, list_at, key_row,
                value_row, first, low, full_low, keys, left, right, scale, WIDTH, VALUE_WIDTH,
                BLOCK_QUERIES, BLOCK_KEYS, BLOCK_WIDTH, BLOCK_VALUE_WIDTH, HAS_LEFT, HAS_RIGHT,
                PADDED, False, True, PRECISION,
            )  # fmt: skip
        highest, total, out = _attend(
            highest, total, out, query, keys_at, values_at, absent_at, list_at, key_row, value_row,
            first, full_low, full_high, keys, left, right, scale, WIDTH, VALUE_WIDTH,
            BLOCK_QUERIES, BLOCK_KEYS, BLOCK_WIDTH, BLOCK_VALUE_WIDTH, HAS_LEFT, HAS_RIGHT, PADDED,
            False, False, PRECISION,
        )  # fmt: skip
        highest, total, out = _attend(
            highest, total, out, query, keys_at, values_at, absent_at, list_at, key_row, value_row,
            first, full_high, end, keys, left, right, scale, WIDTH, VALUE_WIDTH, BLOCK_QUERIES,
            BLOCK_KEYS, BLOCK_WIDTH, BLOCK_VALUE_WIDTH, HAS_LEFT, HAS_RIGHT, PADDED, False, True,
            PRECISION,
        )  # fmt: skip

    blind = total == 0.0
    out = out / tl.where(blind, 1.0, total)[:, None]
    store_rows(
        out_at + batch * out_batch + head * out_head,
        out, first, queries, out_row, VALUE_WIDTH, BLOCK_QUERIES, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    rows = first + tl.arange(0, BLOCK_QUERIES)
    log_sum = tl.where(blind, float("inf"), highest + tl.log2(tl.where(blind, 1.0, total)))
    log_sum_at += tl.program_id(1).to(tl.int64) * queries
    tl.store(log_sum_at + rows, log_sum, mask=rows < queries)


@triton.jit
@no_type_check
def _attend(
    highest,
    total,
    out,
    query,
    keys_at,
    values_at,
    absent_at,
    list_at,
    key_row,
    value_row,
    first,
    begin,
    end,
    keys,
    left,
    right,
    scale,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    HAS_LEFT: tl.constexpr,
    HAS_RIGHT: tl.constexpr,
    PADDED: tl.constexpr,
    LISTED: tl.constexpr,
    MASKED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Take the blocks begin ... end - 1 of keys (of the list, if there is one) into the rows."""
    for index in range(begin, end):
        start = index * BLOCK_KEYS
        if LISTED:
            start = tl.load(list_at + index) * BLOCK_KEYS
        key = load_rows(keys_at, start, keys, key_row, WIDTH, BLOCK_KEYS, BLOCK_WIDTH)
        value = load_rows(
            values_at, start, keys, value_row, VALUE_WIDTH, BLOCK_KEYS, BLOCK_VALUE_WIDTH
        )
        columns = start + tl.arange(0, BLOCK_KEYS)
        if PADDED:
            absent = tl.load(absent_at + columns, mask=columns < keys, other=1) != 0
            # Padding may hold NaN, and 0 x NaN is NaN.
            value = tl.where(absent[:, None], 0.0, value)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
        if MASKED:
            visible = (columns < keys)[None, :]
            if HAS_LEFT or HAS_RIGHT:
                rows = first + tl.arange(0, BLOCK_QUERIES)
                visible = visible & in_band(
                    rows[:, None], columns[None, :], left, right, HAS_LEFT, HAS_RIGHT
                )
            scores = tl.where(visible, scores, float("-inf"))
        if PADDED:
            scores = tl.where(absent[None, :], float("-inf"), scores)
        risen = tl.maximum(highest, tl.max(scores, 1) * scale)
        level = risen
        if MASKED or PADDED:
            # A row that has seen nothing yet: -inf less -inf would be NaN.
            level = tl.where(risen == float("-inf"), 0.0, risen)
        weights = tl.exp2(scores * scale - level[:, None])
        rescale = tl.exp2(highest - level)
        total = total * rescale + tl.sum(weights, 1)
        out = out * rescale[:, None]
        out = tl.dot(weights.to(value.dtype), value, out, input_precision=PRECISION)
        highest = risen
    return highest, total, out
