"""mLSTM in chunks is its recurrence, without the division by exp(m)."""

import pytest
import torch
from support import BATCH, DIM, HEAD_WIDTH, HEADS, build, draw, relative_difference

from cab.kernels.linear.time_constants import spread


def disturbed(**options):
    """A module whose parameters all differ; heads of width 5 are not divided."""
    attention = build("mlstm", "cs", **options)
    with torch.no_grad():
        for number, parameter in enumerate(attention.parameters()):
            parameter.add_(0.3 * draw(*parameter.shape, seed=number))
    return attention


def by_recurrence(attention, x, heads, parts, width):
    """One row (N, D), token by token; each of `heads` heads has `parts` value heads."""
    keys = -(-width // 2)
    value = width // parts
    q, k, v = (read.weight @ x.T for read in (attention.query, attention.key, attention.value))
    gates = []
    for linear in (attention.write_gate, attention.forget_gate):
        gates.append(15 * torch.tanh((linear.weight @ x.T + linear.bias[:, None]) / 15))
    write, keep = gates[0].exp(), gates[1].sigmoid()
    out = torch.zeros(x.shape[0], heads * width, dtype=x.dtype)
    for head in range(heads * parts):
        shared = slice(head // parts * keys, (head // parts + 1) * keys)
        own = slice(head * value, (head + 1) * value)
        memory, count = torch.zeros(keys, value).double(), torch.zeros(keys).double()
        for t in range(x.shape[0]):
            added = write[head, t] * k[shared, t]
            memory = keep[head, t] * memory + added[:, None] * v[own, t]
            count = keep[head, t] * count + added
            query = q[shared, t] / keys**0.5
            out[t, own] = (query @ memory) / max(abs(query @ count), 1.0)
    parted = out.unflatten(-1, (-1, value))
    mean = parted.mean(dim=-1, keepdim=True)
    variance = (parted - mean).square().mean(dim=-1, keepdim=True)
    normed = (parted - mean) / (variance + 1e-5).sqrt()
    normed = (normed * attention.norm.weight + attention.norm.bias).flatten(-2)
    gate = (x @ attention.gate.weight.T).sigmoid()
    return (gate * normed) @ attention.output.weight.T


@pytest.mark.parametrize("length", [1, 23])
@pytest.mark.parametrize(
    ("heads", "width", "parts", "chunk"),
    [(HEADS, HEAD_WIDTH, 1, 64), (HEADS, HEAD_WIDTH, 1, 5), (2, 6, 2, 8), (1, 12, 4, 64)],
)
def test_it_is_its_recurrence(length, heads, width, parts, chunk):
    attention = disturbed(dim=heads * width, heads=heads, chunk=chunk)
    x = 3 * draw(2, length, heads * width)
    with torch.no_grad():
        rows = [by_recurrence(attention, row, heads, parts, width) for row in x]
        assert relative_difference(attention(x), torch.stack(rows)) <= 1e-11


def test_padding_neither_writes_nor_fades():
    attention, x = disturbed(chunk=4), draw(BATCH, 11, DIM)
    attention.write_gate.bias.data.fill_(5.0)  # would raise the level
    padding = torch.zeros(BATCH, 11, dtype=torch.bool)
    padding[:, 3:6] = True
    got = attention(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    alone = attention(x[:, ~padding[0]])
    assert relative_difference(got[:, ~padding[0]], alone) <= 1e-11


def test_gates_from_almost_nothing_to_exp_15_stay_exact_in_float32():
    attention, x = build("mlstm", "cs"), draw(2, 400, DIM)
    with torch.no_grad():
        attention.write_gate.weight.mul_(100)
        attention.forget_gate.bias.fill_(-2.0)
        expected = attention(x)
        got = attention.float()(x.float())
    assert relative_difference(got.double(), expected) <= 1e-3


def test_the_time_constants_start_by_the_length_of_training():
    attention = build("mlstm", "cs", dim=20, heads=4, max_length=128)
    keep = 15 * (attention.forget_gate.bias / 15).tanh()
    tau = -1 / torch.nn.functional.logsigmoid(keep)
    assert relative_difference(tau, spread(4, 128)) <= 1e-4


@pytest.mark.parametrize("options", [{"chunk": 0}, {"cap": 0.0}])
def test_settings_that_cannot_be_are_refused(options):
    with pytest.raises(Exception, match="must be"):
        build("mlstm", "cs", **options)
