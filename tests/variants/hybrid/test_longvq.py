"""LongVQ against its equations, token by token, with every key replaced by its nearest code."""

import pytest
import torch
import torch.nn.functional as F
from support import DIM, build, draw, relative_difference, right_padding
from test_mega import average

PATTERNS = pytest.mark.parametrize("pattern", ["ns", "cs"])
WIDTH = DIM // 4


def spread_codes(attention, scale=1.0):
    """Put codes and keys so far apart that each key has its own nearest code."""
    attention.requires_grad_(False)
    attention.codes.copy_(scale * draw(*attention.codes.shape, seed="codes"))
    attention.scale.copy_(2 * draw(*attention.scale.shape, seed="scale"))
    attention.bias.copy_(draw(*attention.bias.shape, seed="bias"))
    return attention


def equations(attention, x, quantise=True):
    """Return phi (h - x) for unpadded x (B, N, D)."""
    block, length = attention.config.block, x.shape[1]
    smooth = F.silu(average(attention, x) + attention.skip * x)
    update, shared, reset, hidden = attention.from_average(smooth).split(
        (DIM, WIDTH, DIM // 2, DIM), dim=-1
    )
    q, k = (F.silu(shared) * attention.scale[i] + attention.offset[i] for i in (0, 1))
    v, mixed = F.silu(attention.value(x)), torch.zeros_like(x[..., : DIM // 2])
    for row in range(len(x)):
        if quantise:
            for s in range(length):
                distances = (attention.codes - k[row, s]).norm(dim=1)
                k[row, s] = attention.codes[distances.argmin()]
        for t in range(length):
            scores = []
            seen = range(t + 1 if attention.pattern == "cs" else length)
            for s in seen:
                score = q[row, t] @ k[row, s] / WIDTH**0.5
                if abs(t // block - s // block) <= 1:
                    score = score + attention.bias[s - t + attention.distances - 1]
                scores.append(score)
            mixed[row, t] = torch.stack(scores).softmax(dim=0) @ v[row, : len(scores)]
    answer = attention.hidden(F.silu(reset) * mixed)
    return update.sigmoid() * (F.silu(hidden + answer) - x)


@PATTERNS
@pytest.mark.parametrize("length", [1, 2, 9, 23])
def test_it_is_its_equations(pattern, length):
    attention = spread_codes(build("longvq", pattern, block=3, codes=7))
    x = draw(2, length, DIM)
    assert relative_difference(attention(x), equations(attention, x)) <= 1e-11


@PATTERNS
def test_padded_tokens_are_counted_by_no_code(pattern):
    attention = spread_codes(build("longvq", pattern, block=3, codes=5))
    x, padding = draw(2, 23, DIM), right_padding([23, 13], 23)
    out = attention(x.masked_fill(padding[..., None], float("nan")), key_padding_mask=padding)
    assert relative_difference(out[:1], equations(attention, x[:1])) <= 1e-11
    assert relative_difference(out[1:, :13], equations(attention, x[1:, :13])) <= 1e-11


@PATTERNS
def test_within_two_blocks_only_the_quantisation_differs_from_mega(pattern):
    """A code of its own for every key: Mega with the same biases."""
    attention = spread_codes(build("longvq", pattern, block=9, codes=18))
    x = draw(1, 18, DIM)
    smooth = F.silu(average(attention, x) + attention.skip * x)
    shared = attention.from_average(smooth)[..., DIM : DIM + WIDTH]
    attention.codes.copy_((F.silu(shared) * attention.scale[1] + attention.offset[1])[0])
    mega = build("mega", pattern, max_length=18).requires_grad_(False)
    state = {name: value for name, value in attention.state_dict().items() if name != "codes"}
    mega.load_state_dict(state)
    assert relative_difference(attention(x), mega(x)) <= 1e-11


def test_the_auxiliary_loss_moves_codes_and_keys_towards_each_other():
    attention = build("longvq", "cs", block=3, codes=4).train()
    x = draw(2, 11, DIM)
    attention(x)
    attention.auxiliary_loss().backward()
    assert attention.codes.grad.abs().max() > 0
    assert attention.scale.grad[1].abs().max() > 0
    assert attention.scale.grad[0].abs().max() == 0  # queries are left alone
    with torch.no_grad():
        before = attention.auxiliary_loss().item()
        attention.codes -= 0.5 * attention.codes.grad
        attention(x)
        assert attention.auxiliary_loss().item() < before


def test_decoding_forgets_no_block():
    attention = spread_codes(build("longvq", "cs", block=3, codes=5))
    x = draw(2, 23, DIM)
    state, outs = attention.initial_state(2), []
    for t in range(23):
        out, state = attention.step(x[:, t], state)
        outs.append(out)
    assert relative_difference(torch.stack(outs, dim=1), attention(x)) <= 1e-11
