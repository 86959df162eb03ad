"""Linear attention with scalar decay within chunks: the output. Decays are in powers of 2.

o_i = exp(G_i) q_i S + sum_{j <= i} w_ij (q_i . k_j) v_j        w_ij = exp(G_i - G_j)

S is the state before the chunk. The gradients are in `_triton_gradients.py`.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, load_rows, store_columns
from cab.kernels.linear._triton_states import since_start_of_chunk


@triton.jit
@no_type_check
def weights_between(since, CHUNK: tl.constexpr):
    """Return w: what is left at token i of what token j wrote, 0 where j > i."""
    tokens = tl.arange(0, CHUNK)
    past = tokens[:, None] >= tokens[None, :]
    # Chosen before exp2: the future's differences are positive and may overflow.
    return tl.exp2(tl.where(past, since[:, None] - since[None, :], float("-inf")))


@triton.jit
@no_type_check
def scalar_decay_output_kernel(
    queries_at,
    keys_at,
    values_at,
    log_decay_at,
    states_at,
    out_at,
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
    length,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    DECAY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (chunks, tiles of V, B H)."""
    pair = tl.program_id(2).to(tl.int64)
    batch, head = pair // heads, pair % heads
    start = tl.program_id(0) * CHUNK
    column = tl.program_id(1) * BLOCK_VALUE_WIDTH
    states_at += (pair * tl.num_programs(0) + tl.program_id(0)) * WIDTH * VALUE_WIDTH
    query = load_rows(
        queries_at + batch * query_batch + head * query_head,
        start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    key = load_rows(
        keys_at + batch * key_batch + head * key_head,
        start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH,
    )  # fmt: skip
    value = load_columns(
        values_at + batch * value_batch + head * value_head,
        start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
    state = load_columns(
        states_at, 0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH
    )
    out = tl.dot(query.to(state.dtype), state, input_precision=PRECISION)
    scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
    if DECAY == "scalar":
        since, _ = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        out = out * tl.exp2(since)[:, None]
        scores = scores * weights_between(since, CHUNK)
    else:
        tokens = tl.arange(0, CHUNK)
        scores = tl.where(tokens[:, None] >= tokens[None, :], scores, 0.0)
    out = tl.dot(scores.to(value.dtype), value, out, input_precision=PRECISION)
    store_columns(
        out_at + batch * out_batch + head * out_head,
        out, start, length, out_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
    )  # fmt: skip
