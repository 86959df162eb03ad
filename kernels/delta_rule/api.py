"""The gated delta rule as an operator (formula: `kernels/linear/delta_rule.py`).

Layout: q and k (B, H, N, K) with |k| = 1, v (B, H, N, V), strength (B, H, N) in (0, 1) and
log_decay (B, H, N) <= 0 -> (B, H, N, V).
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from cab.kernels._flash_linear_attention import fla_implementation
from cab.kernels._offered import needs_triton
from cab.kernels.linear.delta_rule import delta_rule_attention, delta_rule_step
from cab.kernels.linear.recurrent import token_by_token
from cab.kernels.linear.recurrent_reference import delta_rule_reference
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
    """Draw q, unit keys (others let the state overflow), v, strengths and decays."""
    drawn = draw_qkv(case, generator)
    drawn["k"] = F.normalize(drawn["k"], dim=-1)
    drawn["strength"] = draw_gates(case, generator, torch.sigmoid)
    drawn["log_decay"] = draw_gates(case, generator, remembering)
    return drawn


def oracle(inputs: Inputs, case: Case, rows: Tensor) -> Tensor:
    """Run the recurrence in float64 and keep some rows."""
    return delta_rule_reference(**inputs)[:, :, rows]


def work(case: Case) -> Work:
    """Read, write and read again a state of K x V per token, and decay it: 7 N K V."""
    tokens = case.batch * case.heads * case.queries
    flops = 7 * tokens * case.width * case.value_width
    return Work(flops, tokens, bytes_of_qkv(case) + 2 * tokens * case.dtype.itemsize)


def _chunked(case: Case) -> Run:
    def run(q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor) -> Tensor:
        return delta_rule_attention(q, k, v, strength, log_decay)

    return run


def _triton(case: Case) -> Run:
    from cab.kernels.delta_rule.triton_kernels import triton_delta_rule

    return triton_delta_rule


OPERATOR = Operator(
    name="delta_rule",
    summary="a token replaces what its key reads instead of adding to it",
    draw=draw,
    oracle=oracle,
    work=work,
    implementations={
        "recurrent": Implementation(lambda case: token_by_token(delta_rule_step)),
        "chunked": Implementation(_chunked),
        "triton": Implementation(_triton, needs_triton),
        "fla": fla_implementation("gated_delta_rule", "chunk_gated_delta_rule"),
    },
    plain="recurrent",
    refuses=needs_square_causal,
)
