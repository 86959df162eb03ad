"""Gradient of the queries of softmax attention, from the log-sum that the forward pass left.

p_ij = exp(s_ij - log_sum_i)             delta_i = do_i . o_i
ds_ij = p_ij (do_i . v_j - delta_i)      dq_i = scale sum_j ds_ij k_j

This kernel walks over the keys of a tile of queries, as the forward pass does; that of
`_triton_key_gradient.py` walks over the queries of a tile of keys.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import LOG2_E, load_rows, store_rows
from cab.kernels.softmax._band import in_band, visible_blocks


@triton.jit
@no_type_check
def softmax_delta_kernel(
    out_at,
    above_at,
    delta_at,
    out_batch,
    out_head,
    out_row,
    above_batch,
    above_head,
    above_row,
    heads,
    queries,
    VALUE_WIDTH: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
):
    """Grid (blocks of queries, B H): delta_i = do_i . o_i."""
    batch = (tl.program_id(1) // heads).to(tl.int64)
    head = (tl.program_id(1) % heads).to(tl.int64)
    first = tl.program_id(0) * BLOCK_QUERIES
    out = load_rows(
        out_at + batch * out_batch + head * out_head,
        first, queries, out_row, VALUE_WIDTH, BLOCK_QUERIES, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    above = load_rows(
        above_at + batch * above_batch + head * above_head,
        first, queries, above_row, VALUE_WIDTH, BLOCK_QUERIES, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    delta = tl.sum(out.to(tl.float32) * above.to(tl.float32), 1)
    rows = first + tl.arange(0, BLOCK_QUERIES)
    tl.store(delta_at + tl.program_id(1).to(tl.int64) * queries + rows, delta, mask=rows < queries)


@triton.jit
@no_type_check
def softmax_query_gradient_kernel(
    queries_at,
    keys_at,
    values_at,
    above_at,
    log_sum_at,
    delta_at,
    absent_at,
    list_at,
    count_at,
    gradient_at,
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
    gradient_batch,
    gradient_head,
    gradient_row,
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
    """Grid (blocks of queries, B H): dq, in the tiles of the forward pass. `scale` has log2(e)."""
    tile = tl.program_id(0)
    if HAS_RIGHT:
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
    above = load_rows(
        above_at + batch * above_batch + head * above_head,
        first, queries, above_row, VALUE_WIDTH, BLOCK_QUERIES, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    rows = first + tl.arange(0, BLOCK_QUERIES)
    per_row = tl.program_id(1).to(tl.int64) * queries
    log_sum = tl.load(log_sum_at + per_row + rows, mask=rows < queries, other=float("inf"))
    delta = tl.load(delta_at + per_row + rows, mask=rows < queries, other=0.0)

    if LISTED:
        list_at += batch * list_batch + head * list_head + tile * list_row
        low = 0
        full_low = 0
        full_high = 0
        end = tl.load(count_at + tl.program_id(1) * tl.num_programs(0) + tile)
    else:
        low, full_low, full_high, end = visible_blocks(
            first, BLOCK_QUERIES, left, right, keys, BLOCK_KEYS, HAS_LEFT, HAS_RIGHT
        )
    gradient = tl.full((BLOCK_QUERIES, BLOCK_WIDTH), 0.0, tl.float32)
    for index in range(low, end):
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
            key = tl.where(absent[:, None], 0.0, key)
            value = tl.where(absent[:, None], 0.0, value)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
        weights = tl.exp2(scores * scale - log_sum[:, None])
        if (index < full_low) | (index >= full_high):
            visible = (columns < keys)[None, :]
            if HAS_LEFT or HAS_RIGHT:
                visible = visible & in_band(
                    rows[:, None], columns[None, :], left, right, HAS_LEFT, HAS_RIGHT
                )
            weights = tl.where(visible, weights, 0.0)
        if PADDED:
            weights = tl.where(absent[None, :], 0.0, weights)
        change = tl.dot(above, tl.trans(value), input_precision=PRECISION) - delta[:, None]
        gradient = tl.dot(
            (weights * change).to(key.dtype), key, gradient, input_precision=PRECISION
        )
    store_rows(
        gradient_at + batch * gradient_batch + head * gradient_head,
        gradient * (scale / LOG2_E),
        first, queries, gradient_row, WIDTH, BLOCK_QUERIES, BLOCK_WIDTH,
    )  # fmt: skip
