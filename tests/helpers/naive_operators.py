"""The naive operators of flash-linear-attention, by its authors, in float64 and in CAB's layout.

They turn everything to float32; here they run with float64 in its place. All take (B, H, N, ..),
do not scale scores, and return the output alone (Yang, Zhang, 2024, "FLA: A Triton-Based Library
for Hardware-Efficient Implementations of Linear Attention Mechanism",
github.com/fla-org/flash-linear-attention).
"""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

needs_fla = pytest.mark.skipif(
    importlib.util.find_spec("fla") is None,
    reason="fla-core is not installed; it comes with the extra `dev`",
)


class InFloat64(TorchFunctionMode):
    """Wherever float32 is asked for, take float64."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        args, kwargs = tree_map(
            lambda x: torch.float64 if x is torch.float32 else x, (args, kwargs or {})
        )
        return function(*args, **kwargs)


def call(module: str, function: str, *tensors: Tensor, **options: Any) -> Tensor:
    """Call `fla.ops.MODULE.naive.FUNCTION` and return its output, in float64."""
    naive = getattr(importlib.import_module(f"fla.ops.{module}"), function)
    with InFloat64():
        out = naive(*tensors, **options)
    out = out[0] if isinstance(out, tuple) else out
    assert out.dtype == torch.float64, f"{function} computes in {out.dtype}"
    return out


def _turned(*tensors: Tensor) -> list[Tensor]:
    """Swap heads and tokens: most of its operators take (B, N, H, ..)."""
    return [x.transpose(1, 2) for x in tensors]


def linear(q: Tensor, k: Tensor, v: Tensor, normalize: bool = False) -> Tensor:
    """Linear attention, divided by the sum of weights if wanted."""
    options = {"scale": 1.0, "normalize": normalize}
    tensors = _turned(q, k, v)
    out = call("linear_attn.naive", "naive_recurrent_linear_attn", *tensors, **options)
    return out.transpose(1, 2)


def scalar_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """One decay per head and token; queries and keys may be shared by all heads."""
    q, k = (x.expand(*v.shape[:3], -1) for x in (q, k))
    tensors = _turned(q, k, v, log_decay)
    out = call("simple_gla.naive", "naive_recurrent_simple_gla", *tensors, scale=1.0)
    return out.transpose(1, 2)


def vector_decay(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """One decay per key channel and token."""
    tensors = _turned(q * q.shape[-1] ** 0.5, k, v, log_decay)
    return call("gla.naive", "naive_recurrent_gla", *tensors).transpose(1, 2)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, strength: Tensor) -> Tensor:
    """The delta rule without decay."""
    unscaled = q * q.shape[-1] ** 0.5
    return call("delta_rule.naive", "delta_rule_recurrence", unscaled, k, v, strength)


def gated_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor
) -> Tensor:
    """The delta rule with one decay per head and token."""
    tensors = _turned(q, k, v, strength, log_decay)
    out = call("gated_delta_rule.naive", "naive_recurrent_gated_delta_rule", *tensors, scale=1.0)
    return out.transpose(1, 2)


def kimi_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor
) -> Tensor:
    """The delta rule with one decay per key channel and token (KDA)."""
    tensors = _turned(q, k, v, log_decay, strength)
    return call("kda.naive", "naive_recurrent_kda", *tensors, scale=1.0).transpose(1, 2)


def gated_delta_rule_2(
    q: Tensor, k: Tensor, v: Tensor, erase: Tensor, write: Tensor, log_decay: Tensor
) -> Tensor:
    """The delta rule with decays and erase gates per key channel, write gates per value's."""
    tensors = _turned(q, k, v, log_decay, erase, write)
    return call("gdn2.naive", "naive_recurrent_gdn2", *tensors, scale=1.0).transpose(1, 2)


def comba(
    q: Tensor, k: Tensor, v: Tensor, erased: Tensor, strength: Tensor, log_decay: Tensor
) -> Tensor:
    """The gated delta rule that erases along another key than it writes to."""
    tensors = _turned(q, k, v, erased, strength, log_decay)
    return call("comba.naive", "naive_recurrent_comba", *tensors, scale=1.0).transpose(1, 2)


def delta_product(q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor) -> Tensor:
    """Several steps of the delta rule per token: k, v, strength (B, H, N, steps, ..)."""
    steps = k.shape[3]
    apart = _turned(*(part.flatten(2, 3) for part in (k, v, strength)))
    q, k, v, log_decay, strength = (*_turned(q), *apart[:2], *_turned(log_decay), apart[2])
    module, function = "gated_delta_product.naive", "naive_recurrent_gated_delta_product"
    options = {"scale": 1.0, "num_householder": steps}
    return call(module, function, q, k, v, log_decay, strength, **options).transpose(1, 2)


def generalised_delta_rule(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, log_decay: Tensor
) -> Tensor:
    """A diagonal plus low rank transition, as in RWKV-7 (DPLR)."""
    unscaled = q * q.shape[-1] ** 0.5
    tensors = (unscaled, k, v, a, b, log_decay)
    return call("generalized_delta_rule.dplr.naive", "dplr_recurrence", *tensors)


def least_squares(
    q: Tensor, k: Tensor, v: Tensor, strength: Tensor, log_decay: Tensor, ridge: Tensor
) -> Tensor:
    """In-context ridge regression, each system solved exactly (MesaNet)."""
    q, k, v, log_decay, strength = _turned(q, k, v, log_decay, strength)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the dtype of its states
    try:
        tensors = (q, k, v, log_decay, ridge, strength)
        return call("mesa_net.naive", "naive_mesa_net_exact", *tensors).transpose(1, 2)
    finally:
        torch.set_default_dtype(default)


def log_linear(q: Tensor, k: Tensor, v: Tensor, weights: Tensor, log_decay: Tensor) -> Tensor:
    """A decayed sum for each level of a Fenwick tree, with a weight for each token and level."""
    q, k = (x.expand(*v.shape[:3], -1) for x in (q, k))
    tensors = _turned(q, k, v, log_decay, weights)
    return call("log_linear_attn.naive", "naive_log_linear_attn", *tensors).transpose(1, 2)


def retention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The decays of the paper, 1 - 2^(-5 - h); no rotation, and scores divided by sqrt(K)."""
    return call("retention.naive", "naive_retention", q, k, v)
