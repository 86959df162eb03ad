"""The masked mixer is a convolution of width 1 along the tokens, masked when causal."""

import pytest
import torch
from support import DIM, build, draw, relative_difference, right_padding

from cab.errors import Unsupported


@pytest.mark.parametrize("pattern", ["ns", "cs"])
@pytest.mark.parametrize(("length", "rank"), [(1, 128), (9, 128), (256, 128), (9, 32), (256, 5)])
@torch.no_grad()
def test_it_is_the_paper_s_convolution(pattern, length, rank):
    mixer = build("masked-mixer", pattern, rank=rank)
    assert len(mixer.factors) == (1 if rank == 128 else 2)
    conv = torch.nn.Conv1d(256, 256, 1).double()
    weight = mixer.factors[0] if rank == 128 else mixer.factors[0] @ mixer.factors[1]
    weight = weight.tril() if pattern == "cs" else weight
    conv.weight.copy_(weight[..., None])
    conv.bias.copy_(mixer.bias)
    x, lengths = draw(3, length, DIM), [length, -(-length // 2), 1]
    padding = right_padding(lengths, length)
    whole = torch.zeros(3, 256, DIM, dtype=x.dtype)
    whole[:, :length] = x.masked_fill(padding[..., None], 0.0)
    out = mixer(x.masked_fill(padding[..., None], torch.nan), key_padding_mask=padding)
    assert relative_difference(out, conv(whole)[:, :length]) <= 1e-12


@pytest.mark.parametrize("rank", [8, 128])
def test_the_matrix_starts_as_that_of_a_convolution(rank):
    mixer, conv = build("masked-mixer", "ns", rank=rank), torch.nn.Conv1d(256, 256, 1)
    weight = torch.linalg.multi_dot([*mixer.factors, torch.eye(256).double()])
    assert abs(weight.std() / conv.weight.std() - 1) < 0.1


@torch.no_grad()
def test_it_is_affine_in_its_input():
    mixer, x, y = build("masked-mixer", "cs"), draw(2, 9, DIM), draw(2, 9, DIM, seed="other")
    zero = mixer(torch.zeros_like(x))
    together = mixer(2 * x - 3 * y) - zero
    assert relative_difference(together, 2 * (mixer(x) - zero) - 3 * (mixer(y) - zero)) <= 1e-12


@pytest.mark.parametrize("pattern", ["ns", "cs"])
def test_more_tokens_than_positions_are_refused(pattern):
    with pytest.raises(Unsupported, match=r"at most 8 tokens \(max_length\) and got 9"):
        build("masked-mixer", pattern, max_length=8)(draw(1, 9, DIM))
