"""Linear attention with vector decay as an operator (formula: `kernels/linear/vector_decay.py`).

Layout: q and k (B, H, N, K), v (B, H, N, V), log_decay (B, H, N, K) <= 0 -> (B, H, N, V).
"""

from torch import Generator, Tensor

from cab.kernels._flash_linear_attention import fla_implementation
from cab.kernels._offered import needs_triton
from cab.kernels.linear.recurrent import token_by_token
from cab.kernels.linear.recurrent_reference import vector_decay_reference
from cab.kernels.linear.vector_decay import vector_decay_attention, vector_decay_step
from cab.kernels.operator import (
    Case,
    Implementation,
    Inputs,
    Operator,
    Run,
    Work,
    bytes_of_qkv,
    draw_gates,
    draw_qkv,
    needs_square_causal,
    remembering,
)


def draw(case: Case, generator: Generator) -> dict[str, Tensor]:
    """Draw q, k, v, and decays that are the logarithms of sigmoids of normal numbers + 3."""
    return {
        **draw_qkv(case, generator),
        "log_decay": draw_gates(case, generator, remembering, case.width),
    }


def oracle(inputs: Inputs, case: Case, rows: Tensor) -> Tensor:
    """Run the recurrence in float64 and keep some rows."""
    return vector_decay_reference(**inputs)[:, :, rows]


def work(case: Case) -> Work:
    """Write, decay and read a state of K x V per token: 5 N K V; an exponential per channel."""
    tokens = case.batch * case.heads * case.queries
    decays = tokens * case.width
    flops = 5 * decays * case.value_width
    return Work(flops, decays, bytes_of_qkv(case) + decays * case.dtype.itemsize)


def _chunked(case: Case) -> Run:
    def run(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
        return vector_decay_attention(q, k, v, log_decay)

    return run


def _triton(case: Case) -> Run:
    from cab.kernels.vector_decay.triton_kernels import triton_vector_decay

    return triton_vector_decay


OPERATOR = Operator(
    name="vector_decay",
    summary="linear attention, the state decays by one number per key channel",
    draw=draw,
    oracle=oracle,
    work=work,
    implementations={
        "recurrent": Implementation(lambda case: token_by_token(vector_decay_step)),
        "chunked": Implementation(_chunked),
        "triton": Implementation(_triton, needs_triton),
        "fla": fla_implementation("gla", "chunk_gla"),
    },
    plain="recurrent",
    refuses=needs_square_causal,
)
