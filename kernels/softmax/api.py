"""Softmax attention as an operator: its implementations, and the work that its mask leaves.

Layout: q (B, H, N, K), k (B, G, M, K), v (B, G, M, V) -> (B, H, N, V); scores are divided by
sqrt(K). G divides H; neighbouring query heads share a key head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cab.kernels._offered import needs_triton_for_values
from cab.kernels.operator import Case, Implementation, Operator, Run, Work, bytes_of_qkv, draw_qkv
from cab.kernels.softmax.chunked import chunked_softmax
from cab.kernels.softmax.masks import visible, visible_pairs
from cab.kernels.softmax.reference import eager_softmax, repeat_heads, softmax_reference


def work(case: Case) -> Work:
    """Two products and one exponential per visible pair."""
    pairs = case.batch * case.heads * visible_pairs(case)
    return Work(2 * pairs * (case.width + case.value_width), pairs, bytes_of_qkv(case))


def _all_rows(case: Case) -> Tensor:
    return torch.arange(case.queries, device=case.device)


def is_masked(case: Case) -> bool:
    """Return whether the mask hides any pair."""
    return visible_pairs(case) < case.queries * case.keys


def _eager(case: Case) -> Run:
    hidden = ~visible(case, _all_rows(case)) if is_masked(case) else None
    return lambda q, k, v: eager_softmax(q, k, v, hidden)


def _chunked(case: Case) -> Run:
    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = repeat_heads(k, case.heads), repeat_heads(v, case.heads)
        return chunked_softmax(*(q, k, v), causal=case.causal, offset=case.offset)

    return run


def _needs_mask(case: Case) -> bool:
    """Return whether SDPA needs an explicit mask for a case."""
    square = case.queries == case.keys
    return bool(case.window) or (case.causal and not square and case.alignment == "bottom_right")


def _sdpa(case: Case) -> Run:
    grouped = case.key_heads != case.heads
    if not _needs_mask(case):
        return lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, is_causal=case.causal, enable_gqa=grouped
        )
    seen = visible(case, _all_rows(case))
    # Backends return NaN or 0 for rows without visible keys: unmask such rows, then zero them.
    blind = ~seen.any(dim=-1, keepdim=True)
    mask = seen | blind

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
        return out.masked_fill(blind, 0.0)

    return run


def _sdpa_by(backend: str) -> Implementation:
    """Return SDPA restricted to one of its backends on CUDA."""

    def prepare(case: Case) -> Run:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        attend, chosen = _sdpa(case), getattr(SDPBackend, backend)

        def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            with sdpa_kernel(chosen):
                return attend(q, k, v)

        return run

    def refuses(case: Case) -> str:
        if not case.device.startswith("cuda"):
            return f"this backend of SDPA runs on CUDA, not on {case.device}."
        if case.dtype not in (torch.float16, torch.bfloat16):
            return f"this backend of SDPA has no kernel for {case.dtype}."
        return "this backend of SDPA takes no mask." if _needs_mask(case) else ""

    return Implementation(prepare, refuses)


def _flex(case: Case) -> Run:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    attend = torch.compile(flex_attention, dynamic=False)
    mask = None
    if is_masked(case):

        def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
            position = query + case.offset
            seen = (key <= position) if case.causal else (key >= 0)
            return seen & ((key - position).abs() < case.window) if case.window else seen

        mask = create_block_mask(sees, None, None, case.queries, case.keys, device=case.device)
    grouped = case.key_heads != case.heads
    return lambda q, k, v: attend(q, k, v, block_mask=mask, enable_gqa=grouped)


def _triton(case: Case) -> Run:
    from cab.kernels.softmax.triton_kernels import triton_softmax

    window = case.window or None
    return lambda q, k, v: triton_softmax(
        q, k, v, causal=case.causal, window=window, alignment=case.alignment
    )


def _not_windowed(case: Case) -> str:
    return "it takes no window; use the operator `window`." if case.window else ""


def _on_cuda(case: Case) -> str:
    return "" if case.device.startswith("cuda") else "FlexAttention runs on CUDA here."


OPERATOR = Operator(
    name="softmax",
    summary="softmax over the visible keys",
    draw=draw_qkv,
    oracle=softmax_reference,
    work=work,
    implementations={
        "eager": Implementation(_eager),
        "chunked": Implementation(_chunked, _not_windowed),
        "sdpa": Implementation(_sdpa),
        "sdpa-flash": _sdpa_by("FLASH_ATTENTION"),
        "sdpa-cudnn": _sdpa_by("CUDNN_ATTENTION"),
        "flex": Implementation(_flex, _on_cuda),
        "triton": Implementation(_triton, needs_triton_for_values),
    },
    plain="eager",
    refuses=lambda case: (
        ""
        if case.heads % case.key_heads == 0
        else "the number of key heads does not divide the number of query heads."
    ),
)
