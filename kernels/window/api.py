"""Sliding-window attention as an operator: softmax over the keys nearer than `window`.

Layout as in the operator `softmax`; N queries and N keys of one sequence, in equal heads.
"""

from cab.kernels.operator import Case, Implementation, Operator, Run, draw_qkv
from cab.kernels.softmax.api import OPERATOR as SOFTMAX
from cab.kernels.softmax.api import work
from cab.kernels.softmax.reference import softmax_reference
from cab.kernels.window.chunked import window_attention


def _chunked(case: Case) -> Run:
    return lambda q, k, v: window_attention(q, k, v, window=case.window, causal=case.causal)


def _one_sequence(case: Case) -> str:
    if case.queries != case.keys:
        return "it needs one sequence (as many queries as keys)."
    return "" if case.heads == case.key_heads else "it needs as many key heads as query heads."


def _needs_window(case: Case) -> str:
    return "" if case.window else "it needs a window of at least 1 token (--window)."


OPERATOR = Operator(
    name="window",
    summary="softmax over the keys nearer than a window",
    draw=draw_qkv,
    oracle=softmax_reference,
    work=work,
    implementations={
        "eager": SOFTMAX.implementations["eager"],
        "chunked": Implementation(_chunked, _one_sequence),
        "sdpa": SOFTMAX.implementations["sdpa"],
        "flex": SOFTMAX.implementations["flex"],
        "triton": SOFTMAX.implementations["triton"],
    },
    plain="eager",
    refuses=_needs_window,
)
