"""Gradients of neighbourhood attention; scores are computed a second time.

The sums are those of softmax attention (`cab/kernels/softmax/_triton_query_gradient.py` and its
neighbour): the first kernel walks over what a tile of queries sees, the second over what sees a
tile of keys. No sum is made by atomics.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import LOG2_E
from cab.kernels.neighborhood._triton_places import (
    load_places,
    near,
    own_tile,
    places_of_tile,
    seeing,
    seen_from,
    store_places,
    tokens_at,
)


@triton.jit
@no_type_check
def neighborhood_query_gradient_kernel(
    queries_at,
    keys_at,
    values_at,
    above_at,
    log_sum_at,
    delta_at,
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
    heads,
    height,
    width,
    side,
    row_step,
    column_step,
    scale,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of all lattices, B H): dq, contiguous (B, H, N, K). `scale` has log2(e)."""
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    keys_at += batch * key_batch + head * key_head
    values_at += batch * value_batch + head * value_head
    first_row, first_column, rows, columns, row, column = own_tile(
        height, width, row_step, column_step, TILE_ROWS, TILE_COLUMNS
    )
    query_rows, query_columns = places_of_tile(row, column, TILE_ROWS, TILE_COLUMNS)
    exist = (query_rows < rows) & (query_columns < columns)
    tokens = tokens_at(
        query_rows, query_columns, first_row, first_column, row_step, column_step, width
    )
    query = load_places(
        queries_at + batch * query_batch + head * query_head,
        tokens, exist, query_row, WIDTH, BLOCK_WIDTH,
    )  # fmt: skip
    above = load_places(
        above_at + batch * above_batch + head * above_head,
        tokens, exist, above_row, VALUE_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    per_row = pair * height * width
    # Places beyond the picture weigh exp2(-inf) = 0.
    log_sum = tl.load(log_sum_at + per_row + tokens, mask=exist, other=float("inf"))
    delta = tl.load(delta_at + per_row + tokens, mask=exist, other=0.0)

    top, bottom = seen_from(row, rows, side, TILE_ROWS)
    left, right = seen_from(column, columns, side, TILE_COLUMNS)
    across = tl.cdiv(right - left, TILE_COLUMNS)
    gradient = tl.full((TILE_ROWS * TILE_COLUMNS, BLOCK_WIDTH), 0.0, tl.float32)
    for step in range(tl.cdiv(bottom - top, TILE_ROWS) * across):
        key_rows, key_columns = places_of_tile(
            top + step // across * TILE_ROWS, left + step % across * TILE_COLUMNS,
            TILE_ROWS, TILE_COLUMNS,
        )  # fmt: skip
        present = (key_rows < rows) & (key_columns < columns)
        others = tokens_at(
            key_rows, key_columns, first_row, first_column, row_step, column_step, width
        )
        key = load_places(keys_at, others, present, key_row, WIDTH, BLOCK_WIDTH)
        value = load_places(values_at, others, present, value_row, VALUE_WIDTH, BLOCK_VALUE_WIDTH)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
        visible = near(query_rows[:, None], key_rows[None, :], rows, side)
        visible = visible & near(query_columns[:, None], key_columns[None, :], columns, side)
        weights = tl.where(visible, tl.exp2(scores * scale - log_sum[:, None]), 0.0)
        change = tl.dot(above, tl.trans(value), input_precision=PRECISION) - delta[:, None]
        gradient = tl.dot(
            (weights * change).to(key.dtype), key, gradient, input_precision=PRECISION
        )
    store_places(
        gradient_at + per_row * WIDTH,
        gradient * (scale / LOG2_E), tokens, exist, WIDTH, WIDTH, BLOCK_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def neighborhood_key_gradient_kernel(
    queries_at,
    keys_at,
    values_at,
    above_at,
    log_sum_at,
    delta_at,
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
    heads,
    height,
    width,
    side,
    row_step,
    column_step,
    scale,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of all lattices, B H): dk and dv, contiguous (B, H, N, ..)."""
    pair = tl.program_id(1).to(tl.int64)
    batch, head = pair // heads, pair % heads
    queries_at += batch * query_batch + head * query_head
    above_at += batch * above_batch + head * above_head
    first_row, first_column, rows, columns, row, column = own_tile(
        height, width, row_step, column_step, TILE_ROWS, TILE_COLUMNS
    )
    key_rows, key_columns = places_of_tile(row, column, TILE_ROWS, TILE_COLUMNS)
    exist = (key_rows < rows) & (key_columns < columns)
    tokens = tokens_at(
        key_rows, key_columns, first_row, first_column, row_step, column_step, width
    )
    key = load_places(
        keys_at + batch * key_batch + head * key_head,
        tokens, exist, key_row, WIDTH, BLOCK_WIDTH,
    )  # fmt: skip
    value = load_places(
        values_at + batch * value_batch + head * value_head,
        tokens, exist, value_row, VALUE_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    per_row = pair * height * width

    top, bottom = seeing(row, rows, side, TILE_ROWS)
    left, right = seeing(column, columns, side, TILE_COLUMNS)
    across = tl.cdiv(right - left, TILE_COLUMNS)
    key_gradient = tl.full((TILE_ROWS * TILE_COLUMNS, BLOCK_WIDTH), 0.0, tl.float32)
    value_gradient = tl.full((TILE_ROWS * TILE_COLUMNS, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    for step in range(tl.cdiv(bottom - top, TILE_ROWS) * across):
        query_rows, query_columns = places_of_tile(
            top + step // across * TILE_ROWS, left + step % across * TILE_COLUMNS,
            TILE_ROWS, TILE_COLUMNS,
        )  # fmt: skip
        present = (query_rows < rows) & (query_columns < columns)
        others = tokens_at(
            query_rows, query_columns, first_row, first_column, row_step, column_step, width
        )
        query = load_places(queries_at, others, present, query_row, WIDTH, BLOCK_WIDTH)
        above = load_places(above_at, others, present, above_row, VALUE_WIDTH, BLOCK_VALUE_WIDTH)
        log_sum = tl.load(log_sum_at + per_row + others, mask=present, other=float("inf"))
        delta = tl.load(delta_at + per_row + others, mask=present, other=0.0)
        scores = tl.dot(key, tl.trans(query), input_precision=PRECISION)
        visible = near(query_rows[None, :], key_rows[:, None], rows, side)
        visible = visible & near(query_columns[None, :], key_columns[:, None], columns, side)
        weights = tl.where(visible, tl.exp2(scores * scale - log_sum[None, :]), 0.0)
        value_gradient = tl.dot(
            weights.to(above.dtype), above, value_gradient, input_precision=PRECISION
        )
        change = tl.dot(value, tl.trans(above), input_precision=PRECISION) - delta[None, :]
        key_gradient = tl.dot(
            (weights * change).to(query.dtype), query, key_gradient, input_precision=PRECISION
        )
    store_places(
        key_gradient_at + per_row * WIDTH,
        key_gradient * (scale / LOG2_E), tokens, exist, WIDTH, WIDTH, BLOCK_WIDTH,
    )  # fmt: skip
    store_places(
        value_gradient_at + per_row * VALUE_WIDTH,
        value_gradient, tokens, exist, VALUE_WIDTH, VALUE_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
