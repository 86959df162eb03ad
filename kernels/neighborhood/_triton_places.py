"""Tiles of a picture: where they lie, which tiles they meet, who sees whom among them.

With dilation d a picture falls apart into d x d lattices that do not meet. A program holds a tile
of ROWS x COLUMNS places of one lattice; rows and columns are those of the lattice throughout.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def own_tile(height, width, row_step, column_step, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return a program's lattice (its first row and column, height and width) and tile's corner.

    The first axis of the grid counts lattices, and the tiles of the largest in each.
    """
    across = tl.cdiv(tl.cdiv(width, column_step), COLUMNS)
    down = tl.cdiv(tl.cdiv(height, row_step), ROWS)
    tile = tl.program_id(0)
    lattice = tile // (across * down)
    first_row, first_column = lattice // column_step, lattice % column_step
    rows = tl.cdiv(height - first_row, row_step)
    columns = tl.cdiv(width - first_column, column_step)
    row, column = tile // across % down * ROWS, tile % across * COLUMNS
    return first_row, first_column, rows, columns, row, column


@triton.jit
@no_type_check
def places_of_tile(row, column, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return the row and the column of each place of a tile."""
    places = tl.arange(0, ROWS * COLUMNS)
    return row + places // COLUMNS, column + places % COLUMNS


@triton.jit
@no_type_check
def tokens_at(rows, columns, first_row, first_column, row_step, column_step, width):
    """Return the numbers of tokens, row by row, at places of a lattice."""
    return (first_row + rows * row_step) * width + first_column + columns * column_step


@triton.jit
@no_type_check
def window_start(place, length, side):
    """Return where the window of a place begins: centred, pushed inward at the borders."""
    return tl.maximum(tl.minimum(place - side // 2, length - side), 0)


@triton.jit
@no_type_check
def seen_from(first, length, side, PLACES: tl.constexpr):
    """Return the bounds of what a stretch of places sees on one axis."""
    last = tl.minimum(first + PLACES, length) - 1
    end = tl.minimum(window_start(last, length, side) + side, length)
    return window_start(first, length, side), end


@triton.jit
@no_type_check
def seeing(first, length, side, PLACES: tl.constexpr):
    """Return the bounds of what sees a stretch of places on one axis.

    Place s is seen from s - (k - 1 - k // 2) to s + k // 2; the first k places also from all
    before, the last k from all behind, whose windows are pushed inward.
    """
    last = tl.minimum(first + PLACES, length) - 1
    begin = tl.where(first < side, 0, first - (side - 1 - side // 2))
    end = tl.where(last < length - side, tl.minimum(last + side // 2 + 1, length), length)
    return begin, end


@triton.jit
@no_type_check
def near(query, key, length, side):
    """Return whether queries see keys on one axis; of two tiles with axes of size 1."""
    start = window_start(query, length, side)
    return (key >= start) & (key < start + side) & (key < length)


@triton.jit
@no_type_check
def load_places(matrix, tokens, exist, stride, WIDTH: tl.constexpr, BLOCK_WIDTH: tl.constexpr):
    """Load the rows `tokens` of a matrix; 0 where they do not exist and beyond the width."""
    columns = tl.arange(0, BLOCK_WIDTH)
    inside = exist[:, None] & (columns < WIDTH)[None, :]
    places = tokens[:, None].to(tl.int64) * stride + columns[None, :]
    return tl.load(matrix + places, mask=inside, other=0.0)


@triton.jit
@no_type_check
def store_places(
    matrix, values, tokens, exist, stride, WIDTH: tl.constexpr, BLOCK_WIDTH: tl.constexpr
):
    """Store the rows `tokens` of a matrix, where they exist."""
    columns = tl.arange(0, BLOCK_WIDTH)
    inside = exist[:, None] & (columns < WIDTH)[None, :]
    places = tokens[:, None].to(tl.int64) * stride + columns[None, :]
    tl.store(matrix + places, values.to(matrix.dtype.element_ty), mask=inside)
