"""Hedgehog against its features written out."""

import pytest
import torch
from linear_oracles import assert_is, normalised
from long_sequences import assert_survives, both_dtypes
from support import HEADS, build, draw, relative_difference


def perturb(attention):
    """Move the maps off the identity, the same way each time."""
    with torch.no_grad():
        for name in ("query_map", "key_map", "query_bias", "key_bias"):
            parameter = getattr(attention, name)
            parameter.copy_(draw(*parameter.shape, seed=name))


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_hedgehog_is_its_quadratic_form(pattern):
    def weigh(attention, q, k, v, head):
        def features(x, name):
            x = x @ getattr(attention, f"{name}_map")[head].T
            x = x + getattr(attention, f"{name}_bias")[head]
            return torch.cat((torch.exp(x), torch.exp(-x)), dim=1)

        return normalised(attention, features(q, "query") @ features(k, "key").T) @ v

    assert_is("hedgehog", pattern, weigh, prepare=perturb)


def test_the_maps_begin_as_the_identity():
    # exp(x) and exp(-x) on both sides: the weight is twice a sum of hyperbolic cosines.
    attention, x = build("hedgehog", "ns"), draw(2, 17, 15)
    q, k, v = (
        attention.split_heads(part(x))
        for part in (attention.query, attention.key, attention.value)
    )
    weights = 2 * torch.cosh(q[:, :, :, None] + k[:, :, None]).sum(dim=-1)
    assert weights.shape == (2, HEADS, 17, 17)
    mixed = weights / weights.sum(dim=-1, keepdim=True) @ v
    expected = attention.output(attention.merge_heads(mixed))
    assert relative_difference(attention(x), expected) <= 1e-12


@both_dtypes
def test_it_survives_a_long_sequence(dtype):
    assert_survives("hedgehog", "cs", dtype)
