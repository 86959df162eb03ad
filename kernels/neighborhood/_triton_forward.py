"""Neighbourhood attention on a GPU, forward: a tile of the picture meets the tiles around it.

The sums are those of `cab/kernels/softmax/_triton_forward.py`: one pass over the keys, with a
running maximum; log2 sum_j exp(s_ij) is left for the backward pass. Every query sees itself.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels.neighborhood._triton_places import (
    load_places,
    near,
    own_tile,
    places_of_tile,
    seen_from,
    store_places,
    tokens_at,
)


@triton.jit
@no_type_check
def neighborhood_forward_kernel(
    queries_at,
    keys_at,
    values_at,
    out_at,
    log_sum_at,
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
    """Grid (tiles of all lattices, B H). `scale` has log2(e)."""
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

    top, bottom = seen_from(row, rows, side, TILE_ROWS)
    left, right = seen_from(column, columns, side, TILE_COLUMNS)
    across = tl.cdiv(right - left, TILE_COLUMNS)
    highest = tl.full((TILE_ROWS * TILE_COLUMNS,), float("-inf"), tl.float32)
    total = tl.full((TILE_ROWS * TILE_COLUMNS,), 0.0, tl.float32)
    out = tl.full((TILE_ROWS * TILE_COLUMNS, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
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
        scores = tl.where(visible, scores * scale, float("-inf"))
        risen = tl.maximum(highest, tl.max(scores, 1))
        # A row that has seen nothing yet: -inf less -inf would be NaN.
        level = tl.where(risen == float("-inf"), 0.0, risen)
        weights = tl.exp2(scores - level[:, None])
        rescale = tl.exp2(highest - level)
        total = total * rescale + tl.sum(weights, 1)
        out = out * rescale[:, None]
        out = tl.dot(weights.to(value.dtype), value, out, input_precision=PRECISION)
        highest = risen

    # Places beyond the picture saw nothing, and are not stored.
    out = out / tl.where(total == 0.0, 1.0, total)[:, None]
    store_places(
        out_at + batch * out_batch + head * out_head,
        out, tokens, exist, out_row, VALUE_WIDTH, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    tl.store(log_sum_at + pair * height * width + tokens, highest + tl.log2(total), mask=exist)
