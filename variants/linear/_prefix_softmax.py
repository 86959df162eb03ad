r"""Softmax over time for every channel j, up to each moment t, in time and memory linear in N.

.. math:: w_{tsj} = \exp(a_{sj} - A_{tj}), \quad A_{tj} = \log \sum_{s \le t} \exp(a_{sj})

From one token to the next all weights of a channel shrink by exp(A_{t-1} - A_t) <= 1, so that
the sum over s is linear attention with a decay per channel. Nothing above 1 is ever computed,
whatever the size of a, and no later token is looked at: a maximum over the whole sequence would
cancel on paper, and in float32 let a large later key round the past away.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.kernels.linear.precision import in_float32
from cab.variants.linear._features import hide

NOTHING = -1e30
"""The logarithm of an empty sum: finite, so that differences of two of them are too."""


class Prefix(NamedTuple):
    """weight_t = w_tt, log_decay_t = A_{t-1} - A_t (0 for the first), log_total_t = A_t."""

    weight: Float[Tensor, "B H N J"]
    log_decay: Float[Tensor, "B H N J"]
    log_total: Float[Tensor, "B H N J"]


def prefix_softmax(
    logits: Float[Tensor, "B H N J"], key_padding_mask: Bool[Tensor, "B N"] | None
) -> Prefix:
    """Return the softmax over time in the form of weights and decays."""
    logits = hide(logits, key_padding_mask, NOTHING)
    log_total = logits.logcumsumexp(dim=2)
    before = F.pad(log_total[:, :, :-1], (0, 0, 1, 0), value=NOTHING)
    # Nothing decays where nothing was: the step up from an empty sum would drown the later ones.
    log_decay = (before - log_total).masked_fill(before <= NOTHING / 2, 0.0)
    return Prefix(hide((logits - log_total).exp(), key_padding_mask), log_decay, log_total)


class SoftmaxSum(NamedTuple):
    """The decode state: the weighted mean of the values per channel, and A."""

    mean: Float[Tensor, "B H J V"]
    log_total: Float[Tensor, "B H J 1"]


@in_float32
def softmax_sum(
    logits: Float[Tensor, "B H M J"],
    values: Float[Tensor, "B H M V"],
    key_padding_mask: Bool[Tensor, "B M"] | None = None,
    before: SoftmaxSum | None = None,
) -> SoftmaxSum:
    """Return the mean of the values under softmax over time, of all keys or added to a state.

    The state is in float32 at least, whose range the logarithm of an empty sum needs.
    """
    batch, heads, _, channels = logits.shape
    if before is None:
        empty = logits.new_full((batch, heads, channels, 1), NOTHING)
        before = SoftmaxSum(empty.new_zeros(batch, heads, channels, values.shape[-1]), empty)
    # What was before stands as one more key.
    joined = torch.cat((before.log_total.mT, hide(logits, key_padding_mask, NOTHING)), dim=2)
    weights = joined.softmax(dim=2).mT
    mean = weights[..., :1] * before.mean + weights[..., 1:] @ values
    return SoftmaxSum(mean, joined.logsumexp(dim=2)[..., None])
