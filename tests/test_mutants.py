"""The checks can fail: wrong attentions, planted here, are caught by the law they break."""

import pytest
import torch
from laws import (
    batch_leak,
    context_reach,
    future_gradient,
    future_leak,
    padding_leak,
    reach,
)
from support import VARIANTS, build, build_class

SoftmaxAttention = VARIANTS.load("softmax")
CAUGHT = 1e-3
"""Far above any rounding in float64."""


class Planted(SoftmaxAttention):
    """Softmax attention whose mask is made by `hidden`."""

    def hidden(self, scores, padding):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        mask = mask if self.pattern == "cs" else torch.zeros_like(mask)
        return mask if padding is None else mask | padding[:, None, None, :]

    def attend(self, q, k, v, *, key_padding_mask=None):
        scores = q @ k.mT / self.head_width**0.5
        hidden = self.hidden(scores, key_padding_mask)
        return scores.masked_fill(hidden, -1e300).softmax(dim=-1).masked_fill(hidden, 0.0) @ v


class TransposedMask(Planted):
    def hidden(self, scores, padding):
        return super().hidden(scores, padding).mT


class CausalFlagIgnored(Planted):
    def hidden(self, scores, padding):
        return torch.zeros_like(scores, dtype=torch.bool)


class LeakInTheFirstHalf(Planted):
    def hidden(self, scores, padding):
        mask = super().hidden(scores, padding)
        half = torch.arange(mask.shape[0]) < mask.shape[0] // 2
        return mask & ~(half[:, None] & half)


class LeakOfOneToken(Planted):
    def hidden(self, scores, padding):
        mask = super().hidden(scores, padding).clone()
        mask[-2, -1] = False
        return mask


class LeakWithinChunks(Planted):
    def hidden(self, scores, padding):
        chunk = torch.arange(scores.shape[-1]) // 16
        return chunk > chunk[:, None]


class PooledQueries(Planted):
    """Every query is shifted by the mean query, as in mechanisms that pool queries."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        q = q + q.mean(dim=2, keepdim=True)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)


class LeakInValueOnly(Planted):
    """The future's value reaches the output, its gradient does not."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(q, k, v) + v.detach().mean(dim=2, keepdim=True)


class LeakInGradientOnly(Planted):
    """The future's gradient reaches the output, its value does not."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        mean = v.mean(dim=2, keepdim=True)
        return super().attend(q, k, v) + mean - mean.detach()


class PaddingIgnored(Planted):
    def hidden(self, scores, padding):
        return super().hidden(scores, None)


class PaddingOfTheNextRow(Planted):
    def hidden(self, scores, padding):
        return super().hidden(scores, None if padding is None else padding.roll(1, dims=0))


class PaddingTimesZero(Planted):
    """0 x NaN is NaN: pads are multiplied away instead of being replaced."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        x = x if key_padding_mask is None else x * ~key_padding_mask[:, :, None]
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        return self.output(self.merge_heads(self.attend(q, k, v)))


class BatchNormalised(Planted):
    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(q, k, v) - v.mean(dim=(0, 2), keepdim=True)


class Identity(SoftmaxAttention):
    def forward(self, x, context=None, *, key_padding_mask=None):
        return x


class PastOnly(Planted):
    """Causal in the noncausal pattern too."""

    def hidden(self, scores, padding):
        return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)


class ConstantContext(Planted):
    """Reads the first half of the context only."""

    def hidden(self, scores, padding):
        mask = torch.zeros(scores.shape[-2:], dtype=torch.bool)
        mask[:, mask.shape[1] // 2 :] = True
        return mask


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
def test_the_planted_class_is_right_where_nothing_is_planted(pattern):
    attention = build_class(Planted, pattern)
    expected = build("softmax", pattern)
    assert padding_leak(attention, [9, 4, 1]) == pytest.approx(0, abs=1e-10)
    assert batch_leak(attention, 9) == 0
    if expected.pattern.causal:
        assert future_leak(attention, 17) <= 1e-10


@pytest.mark.parametrize(
    "mutant", [TransposedMask, CausalFlagIgnored, LeakInTheFirstHalf, LeakOfOneToken]
)
@pytest.mark.parametrize("length", [7, 17, 65])
def test_a_wrong_mask_is_caught_by_values_and_by_gradients(mutant, length):
    attention = build_class(mutant, "cs")
    assert future_leak(attention, length) > CAUGHT
    assert future_gradient(attention, min(length, 17)) > CAUGHT


def test_a_leak_within_chunks_is_caught_at_any_length_above_one():
    attention = build_class(LeakWithinChunks, "cs")
    assert all(future_leak(attention, length) > CAUGHT for length in (2, 17, 63))


@pytest.mark.parametrize("pattern", ["cs", "cc"])
def test_pooled_queries_are_caught_in_both_causal_patterns(pattern):
    attention = build_class(PooledQueries, pattern)
    assert future_leak(attention, 17) > CAUGHT
    assert future_gradient(attention, 17) > CAUGHT


def test_values_and_gradients_each_catch_what_the_other_cannot():
    assert future_leak(build_class(LeakInValueOnly, "cs"), 17) > CAUGHT
    assert future_gradient(build_class(LeakInValueOnly, "cs"), 17) == 0
    assert future_leak(build_class(LeakInGradientOnly, "cs"), 17) <= 1e-10
    assert future_gradient(build_class(LeakInGradientOnly, "cs"), 17) > CAUGHT


# In CS an ignored mask changes nothing: right padding lies in the future of all that counts.
@pytest.mark.parametrize(
    ("mutant", "pattern"),
    [(PaddingIgnored, pattern) for pattern in ("ns", "nc", "cc")]
    + [(PaddingOfTheNextRow, pattern) for pattern in ("ns", "cs", "nc", "cc")],
)
def test_a_wrong_padding_mask_is_caught(mutant, pattern):
    assert padding_leak(build_class(mutant, pattern), [7, 2, 1, 6, 4]) > CAUGHT


def test_padding_that_spreads_not_a_number_is_caught():
    assert padding_leak(build_class(PaddingTimesZero, "ns"), [7, 2, 1]) == float("inf")


def test_rows_that_meet_are_caught():
    assert batch_leak(build_class(BatchNormalised, "ns"), 17) > CAUGHT


def test_the_identity_is_caught_by_liveness():
    assert reach(build_class(Identity, "ns"), 17, slice(None)) == 0
    assert context_reach(build_class(Identity, "nc"), 5) == 0


def test_one_sided_or_half_blind_attention_is_caught_by_liveness():
    past_only = build_class(PastOnly, "ns")
    assert reach(past_only, 17, slice(0, 8)) > CAUGHT
    assert reach(past_only, 17, slice(9, None)) == 0
    assert context_reach(build_class(ConstantContext, "nc"), 5) == 0
