"""The delta rule within a chunk: one unit triangular matrix per chunk, inverted.

u_i = b_i (v_i - exp(G_i) S^T k_i) - sum_{j < i} A_ij u_j        A_ij = b_i w_ij (k_i . k_j)

so u = (I + A)^-1 E with E_i = b_i (v_i - exp(G_i) S^T k_i), S the state before the chunk and
w_ij = exp(G_i - G_j). T = (I + A)^-1 is found row by row, T_i = e_i - sum_{j < i} A_ij T_j: exact
in the order of operations of a forward substitution, where powers of A (which sum to T too) would
grow to binomials of 64 before they cancel.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_rows, store_rows
from cab.kernels.linear._triton_states import since_start_of_chunk
from cab.kernels.scalar_decay._triton_chunks import weights_between


@triton.jit
@no_type_check
def overlaps_kernel(
    keys_at,
    strength_at,
    log_decay_at,
    overlaps_at,
    key_batch,
    key_head,
    key_row,
    heads,
    length,
    WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, B H): A (B, H, chunks, C, C) in float32."""
    pair = tl.program_id(1).to(tl.int64)
    start = tl.program_id(0) * CHUNK
    key = load_rows(
        keys_at + pair // heads * key_batch + pair % heads * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    since, _ = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
    tokens = tl.arange(0, CHUNK)
    strength = tl.load(
        strength_at + pair * length + start + tokens, mask=start + tokens < length, other=0.0
    )
    overlaps = tl.dot(key, tl.trans(key), input_precision=PRECISION)
    overlaps = overlaps * weights_between(since, CHUNK) * strength[:, None]
    overlaps = tl.where(tokens[:, None] > tokens[None, :], overlaps, 0.0)
    chunk = pair * tl.num_programs(0) + tl.program_id(0)
    store_rows(overlaps_at + chunk * CHUNK * CHUNK, overlaps, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)


@triton.jit
@no_type_check
def inverse_kernel(overlaps_at, inverse_at, CHUNK: tl.constexpr):
    """Grid (chunks B H): T = (I + A)^-1, from float32 to the dtype of the products with it."""
    offset = tl.program_id(0).to(tl.int64) * CHUNK * CHUNK
    rows, columns = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]
    inverse = tl.where(rows == columns, 1.0, 0.0)
    for row in range(1, CHUNK):
        # Read from memory in the shape in which it is needed: no exchange between threads.
        weights = tl.load(overlaps_at + offset + row * CHUNK + rows)
        change = tl.sum(weights * inverse, 0)
        inverse = tl.where(rows == row, inverse - change[None, :], inverse)
    store_rows(inverse_at + offset, inverse, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK)
