"""Nystrom attention against the three softmaxes and an exact pseudo-inverse."""

import pytest
import torch
from linear_oracles import assert_is, error_to_softmax, segment_means, softmax_twin
from long_sequences import assert_survives, both_dtypes
from support import BATCH, DIM, build, draw, relative_difference, right_padding

from cab.errors import CabError


def rebuild(attention, q, k, v, head):
    few_q, few_k = (segment_means(x, attention.config.landmarks) for x in (q, k))
    scale = k.shape[1] ** -0.5
    left, middle, right = (
        (scale * a @ b.T).softmax(dim=1) for a, b in ((q, few_k), (few_q, few_k), (few_q, k))
    )
    return left @ torch.linalg.pinv(middle) @ right @ v


@pytest.mark.parametrize("landmarks", [1, 3, 7])
def test_nystrom_is_its_three_factors(landmarks):
    assert_is("nystrom", "ns", rebuild, limit=1e-8, landmarks=landmarks, iterations=40, kernel=0)


@pytest.mark.parametrize("length", [1, 2, 17])
def test_as_many_landmarks_as_tokens_are_softmax_attention(length):
    attention = build("nystrom", "ns", landmarks=length, iterations=40, kernel=0)
    x = draw(BATCH, length, DIM)
    assert relative_difference(attention(x), softmax_twin(attention)(x)) <= 1e-8


def test_more_landmarks_come_nearer_to_softmax():
    sizes = [{"landmarks": 2**power, "kernel": 0} for power in range(2, 7)]
    errors = [error_to_softmax("nystrom", "ns", **one) for one in sizes]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


@pytest.mark.parametrize("kernel", [1, 5, 33])
def test_each_head_adds_a_convolution_of_its_unpadded_values(kernel):
    attention, x = build("nystrom", "ns", kernel=kernel), draw(BATCH, 17, DIM)
    bare = build("nystrom", "ns", kernel=0)
    bare.load_state_dict(attention.state_dict(), strict=False)
    padding = right_padding([17, 9, 1, 0], 17)
    v = attention.split_heads(attention.value(x)).masked_fill(padding[:, None, :, None], 0.0)
    near, reach = torch.zeros_like(v), kernel // 2
    for t in range(17):
        for s in range(max(0, t - reach), min(17, t + reach + 1)):
            tap = attention.beside.weight[:, 0, s - t + reach]
            near[:, :, t] += tap[:, None] * v[:, :, s]
    expected = bare(x, key_padding_mask=padding) + attention.output(attention.merge_heads(near))
    got = attention(x, key_padding_mask=padding)
    assert relative_difference(got[~padding], expected[~padding]) <= 1e-12


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("nystrom", "ns", dtype)


@pytest.mark.parametrize("kernel", [2, -1])
def test_a_kernel_has_a_middle(kernel):
    with pytest.raises(CabError, match="kernel must be odd, or 0"):
        build("nystrom", "ns", kernel=kernel)


def test_its_convolution_is_in_float32_whatever_the_type_around_it(monkeypatch):
    attention, convolve, types = build("nystrom", "ns"), torch.nn.functional.conv1d, []

    def noted(x, weight, *rest, **options):
        types.append((x.dtype, weight.dtype))
        return convolve(x, weight, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "conv1d", noted)
    attention, x = attention.float(), draw(BATCH, 9, DIM, seed="half").float()
    expected = attention(x)
    with torch.autocast("cpu", torch.bfloat16):
        near = attention(x)
    attention.bfloat16()(x.bfloat16())
    assert types == [(torch.float32, torch.float32)] * 3
    assert relative_difference(near.float(), expected) < 0.05
