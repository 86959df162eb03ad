"""Power retention in chunks, and step by step, is attention with powers of scores."""

import pytest
import torch
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

from cab.kernels.linear.time_constants import spread

SIZES = pytest.mark.parametrize(
    ("heads", "width", "parts", "power", "chunk"),
    [
        (HEADS, HEAD_WIDTH, 1, 2, 64),
        (HEADS, HEAD_WIDTH, 1, 4, 5),
        (2, 6, 2, 2, 8),
        (1, 8, 4, 4, 64),
    ],
)


def disturbed(**options):
    """A module whose parameters all differ."""
    attention = build("power-retention", "cs", **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def by_pairs(attention, x, heads, parts, power):
    """One row (N, D), pair by pair; each of `heads` heads has `parts` value heads."""
    length, dim = x.shape
    width, value = dim // heads, dim // heads // parts
    q, k, v = (x @ part.weight.T for part in (attention.query, attention.key, attention.value))
    gates = (x @ attention.gate.weight.T + attention.gate.bias).sigmoid()
    out = torch.zeros_like(x)
    for head in range(heads * parts):
        shared = slice(head // parts * width, (head // parts + 1) * width)
        own = slice(head * value, (head + 1) * value)
        for t in range(length):
            total = torch.tensor(1e-12, dtype=torch.float64)
            for s in range(t + 1):
                left = gates[s + 1 : t + 1, head].prod()
                weight = left * (q[t, shared] @ k[s, shared] / width**0.5) ** power
                out[t, own] += weight * v[s, own]
                total = total + weight
            out[t, own] /= total
    return out @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 19])
@SIZES
def test_it_is_the_formula_of_the_paper(heads, width, parts, power, chunk, length):
    options = {"dim": heads * width, "heads": heads, "power": power, "chunk": chunk}
    attention, x = disturbed(**options), 2 * draw(2, length, heads * width)
    with torch.no_grad():
        expected = torch.stack([by_pairs(attention, row, heads, parts, power) for row in x])
        assert relative_difference(attention(x), expected) <= 1e-10


@SIZES
def test_the_state_holds_the_symmetric_power_and_steps_to_the_same_answers(
    heads, width, parts, power, chunk
):
    options = {"dim": heads * width, "heads": heads, "power": power, "chunk": chunk}
    attention, x = disturbed(**options), draw(BATCH, 17, heads * width)
    state, expected = attention.initial_state(BATCH), attention(x)
    for t in range(17):
        y, state = attention.step(x[:, t], state)
        assert relative_difference(y, expected[:, t]) <= 1e-8
    features = {2: width * (width + 1) // 2, 4: width * (width + 1) * (width + 2)}[power]
    features = features if power == 2 else features * (width + 3) // 24
    assert state.memory.shape == (BATCH, heads * parts, features, width // parts + 1)


def test_padding_neither_writes_nor_fades():
    attention, x = disturbed(chunk=4), draw(BATCH, 11, DIM)
    padding = torch.zeros(BATCH, 11, dtype=torch.bool)
    padding[:, 3:6] = True
    got = attention(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    alone = attention(x[:, ~padding[0]])
    assert relative_difference(got[:, ~padding[0]], alone) <= 1e-10


def test_the_time_constants_start_by_the_length_of_training():
    attention = build("power-retention", "cs", dim=20, heads=4, max_length=128)
    tau = -1 / torch.nn.functional.logsigmoid(attention.gate.bias)
    assert relative_difference(tau, spread(4, 128)) <= 1e-5


@pytest.mark.parametrize("options", [{"power": 3}, {"power": 0}, {"chunk": 0}])
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(Exception, match="must be"):
        build("power-retention", "cs", **options)
