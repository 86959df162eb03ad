"""The delta rule between chunks: what each token writes depends on the state it finds.

u = T E,  E = b (V - exp(G) K S)        S' = exp(total) S + (exp(total - G) K)^T u

and backward, with P_ij = w_ij (q_i . k_j) for j <= i,

du = P^T dO + exp(total - G) K dS'      dE = T^T du
dS = exp(total) dS' + (exp(G) Q)^T dO - (b exp(G) K)^T dE

A program holds all K rows of some columns of a state and takes the chunks in turn.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import no_type_check

import triton
import triton.language as tl

from cab.kernels._triton import load_columns, load_rows, store_columns
from cab.kernels.linear._triton_states import since_start_of_chunk
from cab.kernels.scalar_decay._triton_chunks import weights_between


@triton.jit
@no_type_check
def delta_states_kernel(
    keys_at,
    values_at,
    strength_at,
    log_decay_at,
    inverse_at,
    states_at,
    written_at,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    heads,
    length,
    chunks,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of V, B H): S before each chunk, and u (B, H, N, V)."""
    pair = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BLOCK_VALUE_WIDTH
    keys_at += pair // heads * key_batch + pair % heads * key_head
    values_at += pair // heads * value_batch + pair % heads * value_head
    state = tl.full((BLOCK_WIDTH, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    for chunk in range(chunks):
        start = chunk * CHUNK
        place = pair * chunks + chunk
        stored = state.to(states_at.dtype.element_ty)
        store_columns(
            states_at + place * WIDTH * VALUE_WIDTH,
            stored, 0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        key = load_rows(keys_at, start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH)
        value = load_columns(
            values_at, start, length, value_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        inverse = load_rows(
            inverse_at + place * CHUNK * CHUNK, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK
        )
        since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        rows = start + tl.arange(0, CHUNK)
        strength = tl.load(strength_at + pair * length + rows, mask=rows < length, other=0.0)
        found = tl.dot(key.to(stored.dtype), stored, input_precision=PRECISION)
        error = (value - found * tl.exp2(since)[:, None]) * strength[:, None]
        written = tl.dot(inverse, error.to(inverse.dtype), input_precision=PRECISION)
        store_columns(
            written_at + pair * length * VALUE_WIDTH,
            written, start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        writing = (key * tl.exp2(total - since)[:, None]).to(inverse.dtype)
        state = tl.dot(
            tl.trans(writing), written.to(inverse.dtype), state * tl.exp2(total),
            input_precision=PRECISION,
        )  # fmt: skip


@triton.jit
@no_type_check
def delta_state_gradients_kernel(
    queries_at,
    keys_at,
    strength_at,
    log_decay_at,
    inverse_at,
    above_at,
    state_gradients_at,
    error_gradient_at,
    query_batch,
    query_head,
    query_row,
    key_batch,
    key_head,
    key_row,
    above_batch,
    above_head,
    above_row,
    heads,
    length,
    chunks,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    BLOCK_VALUE_WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Grid (tiles of V, B H): dS after each chunk, and dE (B, H, N, V)."""
    pair = tl.program_id(1).to(tl.int64)
    column = tl.program_id(0) * BLOCK_VALUE_WIDTH
    queries_at += pair // heads * query_batch + pair % heads * query_head
    keys_at += pair // heads * key_batch + pair % heads * key_head
    above_at += pair // heads * above_batch + pair % heads * above_head
    change = tl.full((BLOCK_WIDTH, BLOCK_VALUE_WIDTH), 0.0, tl.float32)
    for step in range(chunks):
        chunk = chunks - 1 - step
        start = chunk * CHUNK
        place = pair * chunks + chunk
        stored = change.to(state_gradients_at.dtype.element_ty)
        store_columns(
            state_gradients_at + place * WIDTH * VALUE_WIDTH,
            stored, 0, WIDTH, VALUE_WIDTH, column, VALUE_WIDTH, BLOCK_WIDTH, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        query = load_rows(queries_at, start, length, query_row, WIDTH, CHUNK, BLOCK_WIDTH)
        key = load_rows(keys_at, start, length, key_row, WIDTH, CHUNK, BLOCK_WIDTH)
        above = load_columns(
            above_at, start, length, above_row, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH
        )
        inverse = load_rows(
            inverse_at + place * CHUNK * CHUNK, 0, CHUNK, CHUNK, CHUNK, CHUNK, CHUNK
        )
        since, total = since_start_of_chunk(log_decay_at + pair * length, start, length, CHUNK)
        rows = start + tl.arange(0, CHUNK)
        strength = tl.load(strength_at + pair * length + rows, mask=rows < length, other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION)
        scores = (scores * weights_between(since, CHUNK)).to(above.dtype)
        to_written = tl.dot(key.to(stored.dtype), stored, input_precision=PRECISION)
        to_written = to_written * tl.exp2(total - since)[:, None]
        to_written = tl.dot(tl.trans(scores), above, to_written, input_precision=PRECISION)
        to_error = tl.dot(
            tl.trans(inverse), to_written.to(inverse.dtype), input_precision=PRECISION
        )
        store_columns(
            error_gradient_at + pair * length * VALUE_WIDTH,
            to_error, start, length, VALUE_WIDTH, column, VALUE_WIDTH, CHUNK, BLOCK_VALUE_WIDTH,
        )  # fmt: skip
        reading = (query * tl.exp2(since)[:, None]).to(above.dtype)
        change = tl.dot(
            tl.trans(reading), above, change * tl.exp2(total), input_precision=PRECISION
        )
        finding = (key * (-strength * tl.exp2(since))[:, None]).to(inverse.dtype)
        change = tl.dot(
            tl.trans(finding), to_error.to(inverse.dtype), change, input_precision=PRECISION
        )
