"""Linear attention as an operator: o_t = sum_{s in V_t} (q_t . k_s) v_s.

Layout: q (B, H, N, K), k (B, H, M, K), v (B, H, M, V) -> (B, H, N, V), not normalised; V_t is the
past of one sequence (causal) or every key (self and cross). A feature map comes before it.
"""

import torch
from torch import Tensor

from cab.kernels._flash_linear_attention import fla_implementation
from cab.kernels._offered import needs_triton
from cab.kernels.linear.chunked import CHUNK, causal_linear_attention
from cab.kernels.operator import (
    Case,
    Implementation,
    Inputs,
    Operator,
    Run,
    Work,
    bytes_of_qkv,
    draw_qkv,
    needs_equal_heads,
)


def oracle(inputs: Inputs, case: Case, rows: Tensor) -> Tensor:
    """Answer the queries `rows` in float64, by the quadratic form of those rows."""
    q, k, v = (inputs[name].double() for name in "qkv")
    return torch.cat([_quadratic(q[:, :, some], k, v, some, case) for some in rows.split(256)], 2)


def _quadratic(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, case: Case) -> Tensor:
    scores = q @ k.mT
    if case.causal:
        scores = scores * (torch.arange(case.keys, device=rows.device) <= rows[:, None])
    return scores @ v


def work(case: Case) -> Work:
    """Count each key written to the state and each query reading it once.

    That is 2 (N + M) K V in any form; the products within a chunk are an implementation's own.
    """
    flops = 2 * (case.queries + case.keys) * case.width * case.value_width
    return Work(case.batch * case.heads * flops, 0, bytes_of_qkv(case))


def _reference(case: Case) -> Run:
    rows = torch.arange(case.queries, device=case.device)
    return lambda q, k, v: _quadratic(q, k, v, rows, case)


def _chunked(case: Case) -> Run:
    if case.causal:
        return lambda q, k, v: causal_linear_attention(q, k, v, CHUNK)
    return lambda q, k, v: q @ (k.mT @ v)


def _triton(case: Case) -> Run:
    from cab.kernels.linear.triton_kernels import triton_linear

    return lambda q, k, v: triton_linear(q, k, v, causal=case.causal)


def _refuses(case: Case) -> str:
    if case.causal and case.queries != case.keys:
        return "causal linear attention needs one sequence (as many queries as keys)."
    return needs_equal_heads(case)


OPERATOR = Operator(
    name="linear",
    summary="sums of key-value products, read by queries",
    draw=draw_qkv,
    oracle=oracle,
    work=work,
    implementations={
        "reference": Implementation(_reference),
        "chunked": Implementation(_chunked),
        "triton": Implementation(_triton, needs_triton),
        "fla": fla_implementation("linear_attn", "chunk_linear_attn", normalize=False),
    },
    plain="reference",
    refuses=_refuses,
)
