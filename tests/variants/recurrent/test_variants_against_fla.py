"""Linear and recurrent variants around the naive operators of flash-linear-attention.

The projections, gates and norms of a variant are its own; what it does to the whole sequence with
them comes from the naive operator. Outputs and the gradients of the input and of every parameter
must agree.
"""

import math

import naive_operators as naive
import pytest
import torch
import torch.nn.functional as F
from support import build, draw, relative_difference

pytestmark = [
    naive.needs_fla,
    pytest.mark.filterwarnings("ignore:Triton is not supported"),
]
BATCH, HEADS, WIDTH = 2, 5, 7
DIM = HEADS * WIDTH
LENGTHS = (1, 11, 67)
LIMIT = 1e-10


def disturbed(name: str, **sizes):
    """A variant whose parameters all differ, so that no gate is constant at its start."""
    attention = build(name, "cs", **{"dim": DIM, "heads": HEADS, **sizes})
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.2 * draw(*parameter.shape, seed=f"{name} {number}"))
    return attention


def rotated(x):
    """Rotary positions by complex numbers on pairs (c, c + E // 2); an odd last channel stays."""
    half, length = x.shape[-1] // 2, x.shape[2]
    angles = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    phase = torch.exp(1j * torch.arange(length, dtype=torch.float64)[:, None] * angles)
    turned = torch.complex(x[..., :half], x[..., half : 2 * half]) * phase
    return torch.cat((turned.real, turned.imag, x[..., 2 * half :]), dim=-1)


def retention(attention, q, k, v, log_decay):
    return naive.scalar_decay(rotated(q), rotated(k), v, log_decay)


def gla(attention, *tokens):
    return naive.vector_decay(*tokens)


def deltanet(attention, q, k, v, strength, log_decay):
    assert not log_decay.any()
    return naive.delta_rule(q, k, v, strength)


def gated_deltanet(attention, *tokens):
    return naive.gated_delta_rule(*tokens)


def mamba2(attention, c, b, u, step, log_decay):
    read = naive.scalar_decay(c, b, step[..., None] * u, log_decay)
    return read + attention.skip[:, None, None] * u


def rwkv7(attention, r, k, v, a, b, gate, log_decay):
    read = naive.generalised_delta_rule(r, k, v, a, b, log_decay)
    variance, mean = torch.var_mean(read, dim=-1, keepdim=True, correction=0)
    norm = attention.norm
    scale, shift = (x.view(HEADS, 1, WIDTH) for x in (norm.weight, norm.bias))
    normed = (read - mean) / (variance + norm.eps).sqrt() * scale + shift
    return gate * (normed + (r * attention.bonus * k).sum(dim=-1, keepdim=True) * v)


def kda(attention, q, k, v, erase, write, log_decay):
    assert erase.equal(write)
    return naive.kimi_delta_rule(q, k, v, write[..., 0], log_decay)


def gdn2(attention, *tokens):
    return naive.gated_delta_rule_2(*tokens)


def comba(attention, q, k, v, strength, log_decay):
    erased = attention.feedback.sigmoid()[:, None, None] * k
    return naive.comba(q, k, v, erased, strength, log_decay)


def deltaproduct(attention, *tokens):
    return naive.delta_product(*tokens)


def mesanet(attention, *tokens):
    return naive.least_squares(*tokens, F.softplus(attention.ridge) + 0.25)


def log_linear(attention, c, b, u, step, weights, log_decay):
    read = naive.log_linear(c, b, step[..., None] * u, weights, log_decay)
    return read + attention.skip[:, None, None] * u


RECURRENT = {
    "retention": retention,
    "gla": gla,
    "hgrn2": gla,
    "deltanet": deltanet,
    "gated-deltanet": gated_deltanet,
    "mamba2": mamba2,
    "rwkv7": rwkv7,
    "kda": kda,
    "gdn2": gdn2,
    "comba": comba,
    "deltaproduct": deltaproduct,
    "mesanet": mesanet,
    "log-linear": log_linear,
}


def around(name):
    """The variant with the naive operator in the place of its kernel."""

    def forward(attention, x):
        tokens, _ = attention.read(x, attention.nothing_recent(len(x)))
        return attention.write(RECURRENT[name](attention, *tokens), x)

    return forward


def of_heads(attend):
    """A mechanism inside the projections that all variants share."""

    def forward(attention, x):
        q, k, v = (
            part(x).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        return attention.output(attend(attention, q, k, v).transpose(1, 2).flatten(-2))

    return forward


def linear(attention, q, k, v):
    return naive.linear(F.elu(q) + 1, F.elu(k) + 1, v, normalize=True)


def lightning(attention, q, k, v):
    head = torch.arange(1, HEADS + 1, dtype=torch.float64)
    log_decay = -((2.0 * attention.train_length) ** (-head / HEADS))
    log_decay = log_decay[:, None].expand(q.shape[:3])
    out = naive.scalar_decay(F.silu(q), F.silu(k), v, log_decay)
    return out / (out.square().mean(dim=(1, 3), keepdim=True) + 1e-6).sqrt()


FORWARD = {name: around(name) for name in RECURRENT}
FORWARD |= {"linear": of_heads(linear), "lightning": of_heads(lightning)}


def with_gradients(function, attention, x):
    """Return the output, and the gradients of the input and every parameter."""
    x = x.detach().requires_grad_()
    out = function(attention, x)
    above = draw(*out.shape, seed="from above")
    wanted = {"x": x, **dict(attention.named_parameters())}
    gradients = torch.autograd.grad(out, list(wanted.values()), above, allow_unused=True)
    return {"the output": out, **dict(zip(wanted, gradients, strict=True))}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", FORWARD)
def test_a_variant_is_its_naive_operator_between_its_projections(name, length):
    attention, x = disturbed(name), draw(BATCH, length, DIM, seed="x")
    got = with_gradients(lambda module, x: module(x), attention, x)
    expected = with_gradients(FORWARD[name], attention, x)
    assert got.keys() == expected.keys()
    for what, wanted in expected.items():
        assert (got[what] is None) == (wanted is None), what
        if wanted is not None:
            assert relative_difference(got[what], wanted) <= LIMIT, what
    if length > 1:
        unused = [what for what, wanted in expected.items() if wanted is None]
        assert not unused, f"nothing reaches {', '.join(unused)}"


@pytest.mark.parametrize("name", RECURRENT)
def test_decoding_is_the_naive_operator_too(name):
    attention, x = disturbed(name), draw(BATCH, 23, DIM, seed="x")
    with torch.no_grad():
        state, out = attention.initial_state(BATCH), []
        for token in x.unbind(dim=1):
            answer, state = attention.step(token, state)
            out.append(answer)
        assert relative_difference(torch.stack(out, 1), FORWARD[name](attention, x)) <= LIMIT


def test_retention_with_eight_heads_and_2048_tokens_has_the_published_decays():
    attention = disturbed("retention", dim=8 * WIDTH, heads=8, max_length=2048)
    x = draw(BATCH, 67, 8 * WIDTH, seed="x")
    with torch.no_grad():
        (q, k, v, _), _ = attention.read(x, attention.nothing_recent(BATCH))
        mixed = naive.retention(rotated(q), rotated(math.sqrt(WIDTH) * k), v)
        assert relative_difference(attention(x), attention.write(mixed, x)) <= LIMIT
