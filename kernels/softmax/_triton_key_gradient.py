"""Gradients of the keys and values of softmax attention: scores are computed a second time.

dv_j = sum_i p_ij do_i                   ds_ij = p_ij (do_i . v_j - delta_i)
dk_j = scale sum_i ds_ij q_i             (p and delta as in `_triton_query_gradient.py`)

A program holds a tile of keys and walks over the queries that see it, of all the heads that share
these keys. So no sum is made by atomics, and the gradients are the same in every run.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import LOG2_E, load_rows, store_rows
from cab.kernels.softmax._band import in_band, visible_blocks


@triton.jit
@no_type_check
def softmax_key_gradient_kernel(
    queries_at,
    keys_at,
    values_at,
    above_at,
    log_sum_at,
    delta_at,
    absent_at,
    list_at,
    count_at,
    key_gradient_at,
    value_gradient_at,
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
    key_gradient_batch,
    key_gradient_head,
    key_gradient_row,
    value_gradient_batch,
    value_gradient_head,
    value_gradient_row,
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
    """Grid (blocks of keys, B G), G key heads: dk and dv. `list_at` names blocks of queries."""
    tile = tl.program_id(0)
    key_heads = heads // group
    batch = (tl.program_id(1) // key_heads).to(tl.int64)
    key_of = (tl.program_id(1) % key_heads).to(tl.int64)
    first = tile * BLOCK_KEYS
    key = load_rows(
        keys_at + batch * key_batch + key_of * key_head,
        first, keys, key_row, WIDTH, BLOCK_KEYS, BLOCK_WIDTH,
    )  # fmt: skip
    value = load_rows(
        values_at + batch * value_batch + key_of * value_head,
        first, keys, value_row, VALUE_WIDTH, BLOCK_KEYS, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    columns = first + tl.arange(0, BLOCK_KEYS)
    if PADDED:
        absent = tl.load(absent_at + batch * absent_batch + columns, mask=columns < keys, other=1)
        absent = absent != 0
        key = tl.where(absent[:, None], 0.0, key)
        value = tl.where(absent[:, None], 0.0, value)

    # Seen from the keys the band is mirrored: key j meets j - right <= i <= j - left.
    low, full_low, full_high, end = visible_blocks(
        first, BLOCK_KEYS, -right, -left, queries, BLOCK_QUERIES, HAS_RIGHT, HAS_LEFT
    )
    key_gradient = tl.full((BLOCK_KEYS, BLOCK_WIDTH), 0.0, tl.float32)
    value_gradient = tl.full((BLOCK_KEYS, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    for member in range(group):
        head = key_of * group + member
        query_tile = queries_at + batch * query_batch + head * query_head
        above_tile = above_at + batch * above_batch + head * above_head
        per_row = (batch * heads + head) * queries
        if LISTED:
            named = list_at + batch * list_batch + head * list_head + tile * list_row
            end = tl.load(count_at + (batch * heads + head) * tl.num_programs(0) + tile)
            low = 0
            full_low = 0
            full_high = 0
        for index in range(low, end):
            start = index * BLOCK_QUERIES
            if LISTED:
                start = tl.load(named + index) * BLOCK_QUERIES
            query = load_rows(
                query_tile, start, queries, query_row, WIDTH, BLOCK_QUERIES, BLOCK_WIDTH
            )
            above = load_rows(
                above_tile, start, queries, above_row, VALUE_WIDTH, BLOCK_QUERIES,
                BLOCK_VALUE_WIDTH,
            )  # fmt: skip
            rows = start + tl.arange(0, BLOCK_QUERIES)
            # Rows beyond the end weigh exp2(-inf) = 0, as rows that see nothing do.
            log_sum = tl.load(log_sum_at + per_row + rows, mask=rows < queries, other=float("inf"))
            delta = tl.load(delta_at + per_row + rows, mask=rows < queries, other=0.0)
            scores = tl.dot(key, tl.trans(query), input_precision=PRECISION)
            weights = tl.exp2(scores * scale - log_sum[None, :])
            if HAS_LEFT or HAS_RIGHT:  # noqa: SIM102 - one is decided when it is compiled
                if (index < full_low) | (index >= full_high):
                    visible = in_band(
                        rows[None, :], columns[:, None], left, right, HAS_LEFT, HAS_RIGHT
                    )
                    weights = tl.where(visible, weights, 0.0)
            if PADDED:
                weights = tl.where(absent[:, None], 0.0, weights)
            value_gradient = tl.dot(
                weights.to(above.dtype), above, value_gradient, input_precision=PRECISION
            )
            change = tl.dot(value, tl.trans(above), input_precision=PRECISION) - delta[None, :]
            key_gradient = tl.dot(
                (weights * change).to(query.dtype), query, key_gradient, input_precision=PRECISION
            )
    store_rows(
        key_gradient_at + batch * key_gradient_batch + key_of * key_gradient_head,
        key_gradient * (scale / LOG2_E),
        first, keys, key_gradient_row, WIDTH, BLOCK_KEYS, BLOCK_WIDTH,
    )  # fmt: skip
    store_rows(
        value_gradient_at + batch * value_gradient_batch + key_of * value_gradient_head,
        value_gradient, first, keys, value_gradient_row, VALUE_WIDTH, BLOCK_KEYS,
        BLOCK_VALUE_WIDTH,
    )  # fmt: skip
