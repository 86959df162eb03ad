"""Linear attention without order: every query reads the sum over all keys.

S = sum_j k_j v_j^T        o_i = S^T q_i
dS = sum_i q_i do_i^T      dq_i = S do_i,  dk_j = dS v_j,  dv_j = dS^T k_j

So two kernels do all of it: a sum of outer products, and a matrix applied to each row. Queries
and keys may belong to different sequences.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, store_columns


@triton.jit
@no_type_check
def outer_sum_kernel(
    left_at,
    right_at,
    sums_at,
    left_batch,
    left_head,
    left_row,
    right_batch,
    right_head,
    right_row,
    heads,
    length,
    stretch,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of K x tiles of V, stretches, B H): sums (B, H, stretches, K, V) in float32.

    The sequence is cut into stretches so that a few long sequences fill the device too.
    """
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    tiles = (VALUE_WIDTH + BLOCK_VALUE_WIDTH - 1) // BLOCK_VALUE_WIDTH
    column = tl.program_id(0) // tiles * BLOCK_WIDTH
    value_column = tl.program_id(0) % tiles * BLOCK_VALUE_WIDTH
    begin = tl.program_id(1) * stretch
    end = tl.minimum(begin + stretch, length)
    left_at += batch * left_batch + head * left_head
    right_at += batch * right_batch + head * right_head
    sums_at += (pair * tl.num_programs(1) + tl.program_id(1)) * WIDTH * VALUE_WIDTH
    total = tl.full((BLOCK_WIDTH, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    for start in range(begin, end, BLOCK):
        left = load_columns(left_at, start, end, left_row, column, WIDTH, BLOCK, BLOCK_WIDTH)
        right = load_columns(
            right_at, start, end, right_row, value_column, VALUE_WIDTH, BLOCK, BLOCK_VALUE_WIDTH
        )
        total = tl.dot(tl.trans(left), right, total, input_precision=PRECISION)
    store_columns(
        sums_at + column * VALUE_WIDTH,
        total, 0, WIDTH - column, VALUE_WIDTH, value_column, VALUE_WIDTH, BLOCK_WIDTH,
        BLOCK_VALUE_WIDTH,
    )  # fmt: skip


@triton.jit
@no_type_check
def apply_kernel(
    rows_at,
    matrix_at,
    out_at,
    rows_batch,
    rows_head,
    rows_row,
    out_batch,
    out_head,
    out_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    OUT_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_OUT_WIDTH: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (blocks of rows, tiles of the output's width, B H): x M, or x M^T if TRANSPOSED.

    M is (B, H, WIDTH, OUT_WIDTH), or (B, H, OUT_WIDTH, WIDTH) if TRANSPOSED.
    """
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start, column = tl.program_id(0) * BLOCK, tl.program_id(1) * BLOCK_OUT_WIDTH
    rows_at += batch * rows_batch + head * rows_head
    matrix_at += pair * WIDTH * OUT_WIDTH
    total = tl.full((BLOCK, BLOCK_OUT_WIDTH), 0.0, tl.float32)
    for inner in range(0, WIDTH, BLOCK_WIDTH):
        rows = load_columns(rows_at, start, length, rows_row, inner, WIDTH, BLOCK, BLOCK_WIDTH)
        if TRANSPOSED:
            matrix = tl.trans(
                load_columns(
                    matrix_at + column * WIDTH,
                    0, OUT_WIDTH - column, WIDTH, inner, WIDTH, BLOCK_OUT_WIDTH, BLOCK_WIDTH,
                )
            )  # fmt: skip
        else:
            matrix = load_columns(
                matrix_at, inner, WIDTH, OUT_WIDTH, column, OUT_WIDTH, BLOCK_WIDTH,
                BLOCK_OUT_WIDTH,
            )  # fmt: skip
        total = tl.dot(rows.to(matrix.dtype), matrix, total, input_precision=PRECISION)
    store_columns(
        out_at + batch * out_batch + head * out_head,
        total, start, length, out_row, column, OUT_WIDTH, BLOCK, BLOCK_OUT_WIDTH,
    )  # fmt: skip
