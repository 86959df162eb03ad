"""The recurrent kernels against the naive operators of flash-linear-attention, with gradients."""

import naive_operators as naive
import pytest
import torch
import torch.nn.functional as F
from support import draw, relative_difference

from cab.kernels.linear.chunked import causal_linear_attention
from cab.kernels.linear.delta_rule import delta_rule_attention
from cab.kernels.linear.generalised_delta import generalised_delta_attention
from cab.kernels.linear.recurrent_reference import (
    delta_rule_reference,
    generalised_delta_reference,
    scalar_decay_reference,
    vector_decay_reference,
)
from cab.kernels.linear.reference import causal_linear_attention_reference
from cab.kernels.linear.scalar_decay import scalar_decay_attention
from cab.kernels.linear.vector_decay import vector_decay_attention

pytestmark = [
    naive.needs_fla,
    pytest.mark.filterwarnings("ignore:Triton is not supported"),
]
B, H, K, V = 2, 3, 5, 7
LENGTHS = (1, 11, 37, 67)
LIMIT = 1e-11


def drawn(name: str, length: int):
    shapes = {"q": (K,), "k": (K,), "v": (V,), "strength": (), "log_decay": (), "wide": (K,)}
    x = draw(B, H, length, *shapes[name], seed=name)
    gates = {"strength": torch.sigmoid, "log_decay": F.logsigmoid, "wide": F.logsigmoid}
    return gates[name](x) if name in gates else x


def delta_without_decay(q, k, v, strength):
    return delta_rule_attention(q, k, v, strength, torch.zeros_like(strength), 16)


def kimi(kernel):
    """The delta rule with vector decays as a case of the generalised one: v is erased by b a^T."""

    def run(q, k, v, strength, wide):
        written = strength[..., None] * k
        return kernel(q, written, v, wide.exp() * k, -written, wide)

    return run


def of_rwkv7(function):
    """Rates, keys and decays as RWKV-7 makes them."""

    def run(q, k, v, wide):
        removal = F.normalize(k, dim=-1)
        return function(q, k, v, -removal, removal * wide.exp(), wide)

    return run


CASES = {
    "linear": ("q k v", causal_linear_attention_reference, naive.linear),
    "linear in chunks": ("q k v", lambda *x: causal_linear_attention(*x, 16), naive.linear),
    "scalar": ("q k v log_decay", scalar_decay_reference, naive.scalar_decay),
    "scalar in chunks": (
        *("q k v log_decay", lambda *x: scalar_decay_attention(*x, 16), naive.scalar_decay),
    ),
    "vector": ("q k v wide", vector_decay_reference, naive.vector_decay),
    "vector in chunks": (
        *("q k v wide", lambda *x: vector_decay_attention(*x, 16), naive.vector_decay),
    ),
    "delta in chunks": ("q k v strength", delta_without_decay, naive.delta_rule),
    "gated delta": ("q k v strength log_decay", delta_rule_reference, naive.gated_delta_rule),
    "gated delta in chunks": (
        "q k v strength log_decay",
        lambda *x: delta_rule_attention(*x, 16),
        naive.gated_delta_rule,
    ),
    "kimi": ("q k v strength wide", kimi(generalised_delta_reference), naive.kimi_delta_rule),
    "kimi in chunks": (
        "q k v strength wide",
        kimi(lambda *x: generalised_delta_attention(*x, 16)),
        naive.kimi_delta_rule,
    ),
    "generalised": (
        "q k v wide",
        of_rwkv7(generalised_delta_reference),
        of_rwkv7(naive.generalised_delta_rule),
    ),
    "generalised in chunks": (
        "q k v wide",
        of_rwkv7(lambda *x: generalised_delta_attention(*x, 16)),
        of_rwkv7(naive.generalised_delta_rule),
    ),
}


def with_gradients(function, tensors):
    """Return the output and the gradients of a fixed random projection of it."""
    tensors = [x.detach().requires_grad_() for x in tensors]
    out = function(*tensors)
    above = draw(*out.shape, seed="from above")
    return out, *torch.autograd.grad(out, tensors, above)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_naive_operator(case, length):
    names, ours, theirs = CASES[case]
    tensors = [drawn(name, length) for name in names.split()]
    if "strength" in names.split():  # the chunks of the delta rule are for keys of norm 1
        tensors[1] = F.normalize(tensors[1], dim=-1)
    got, expected = with_gradients(ours, tensors), with_gradients(theirs, tensors)
    assert got[0].shape == expected[0].shape == (B, H, length, V)
    for what, mine, wanted in zip(("the output", *names.split()), got, expected, strict=True):
        assert relative_difference(mine, wanted) <= LIMIT, what
        assert wanted.abs().max() > 1e-3 or length == 1, f"{what} is nothing here"


@pytest.mark.parametrize("shared", [0, 1])
def test_queries_or_keys_that_all_heads_share(shared):
    tensors = [drawn(name, 37) for name in ("q", "k", "v", "log_decay")]
    tensors[shared] = tensors[shared][:, :1]
    got = with_gradients(lambda *x: scalar_decay_attention(*x, 16), tensors)
    expected = with_gradients(naive.scalar_decay, tensors)
    for mine, wanted in zip(got, expected, strict=True):
        assert relative_difference(mine, wanted) <= LIMIT


def test_the_fixed_decays_of_retention():
    q, k, v = (drawn(name, 67) for name in "qkv")
    log_decay = torch.log1p(-(2.0 ** (-5.0 - torch.arange(H, dtype=torch.float64))))
    log_decay = log_decay[:, None].expand(B, H, 67)

    def ours(q, k, v):
        return scalar_decay_attention(q / K**0.5, k, v, log_decay, 16)

    got, expected = with_gradients(ours, (q, k, v)), with_gradients(naive.retention, (q, k, v))
    for mine, wanted in zip(got, expected, strict=True):
        assert relative_difference(mine, wanted) <= LIMIT


@pytest.mark.parametrize("case", CASES)
def test_a_shift_by_one_token_is_seen(case):
    """The limit tells a wrong operator from a right one."""
    names, ours, theirs = CASES[case]
    tensors = [drawn(name, 37) for name in names.split()]
    if "strength" in names.split():
        tensors[1] = F.normalize(tensors[1], dim=-1)
    got = ours(*tensors)
    for place, name in enumerate(names.split()):
        moved = [*tensors[:place], tensors[place].roll(1, dims=2), *tensors[place + 1 :]]
        assert relative_difference(theirs(*moved), got) > 1e-3, name
