"""Causal attention with softmax weights for near keys and features for earlier ones."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from cab.decoding import DecodingAttention, KeyValueCache
from cab.kernels.linear.precision import at_least_float32, in_float32
from cab.kernels.linear.scan import in_chunks
from cab.variants.linear._features import hide, normalise, padded_keys, with_ones


class NearAndFar(NamedTuple):
    """The decode state: the last `window` keys and values, the sum of those before, if any."""

    near: KeyValueCache
    far: Float[Tensor, "B H J V"]
    has_far: Bool[Tensor, "B 1 1 1"]


class NearAndFarAttention(DecodingAttention):
    r"""Weigh near values by scores and far ones by products of features.

    .. math:: o_t = \frac{\sum_{s \le t} w_{ts} v_s}{\sum_{s \le t} w_{ts}}, \quad
              w_{ts} = \begin{cases} \mathrm{near}_t(q_t \cdot k_s) & t - s < w \\
              r_t \, \phi(q_t) \cdot \phi'(k_s) & \text{else} \end{cases}

    A block of w queries meets the keys of its own block and of the one before in one product,
    and what came earlier as a sum. Subclasses have `window` in their Config.
    """

    def query_features(self, q: Float[Tensor, "B H N F"]) -> Float[Tensor, "B H N J"]:
        """Return phi."""
        raise NotImplementedError

    def key_features(self, k: Float[Tensor, "B H M F"]) -> Float[Tensor, "B H M J"]:
        """Return phi'."""
        raise NotImplementedError

    def weigh_near(
        self,
        scores: Float[Tensor, "*B N M"],
        near: Bool[Tensor, "*b N M"],
        has_far: Bool[Tensor, "*b N 1"],
    ) -> tuple[Float[Tensor, "*B N M"], Float[Tensor, "*B N 1"]]:
        """Return the weights of near keys from q . k, whatever for others, and r.

        has_far tells the queries that have a far key.
        """
        raise NotImplementedError

    def attend(
        self,
        q: Float[Tensor, "B H N F"],
        k: Float[Tensor, "B H N F"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o, or 0 for a query that sees nothing."""
        return at_least_float32(self._attend)(v, q, k, padded_keys(k, key_padding_mask))

    def _attend(
        self,
        v: Float[Tensor, "B H N E"],
        q: Float[Tensor, "B H N F"],
        k: Float[Tensor, "B H N F"],
        padded: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B H N E"]:
        length, window = q.shape[2], self.config.window
        parts = q, self.query_features(q), k, hide(self.key_features(k), padded), with_ones(v)
        q, query_features, k, key_features, values = (in_chunks(x, window) for x in parts)
        kept = in_chunks(~padded[:, None, :, None], window)  # (B, 1, n, w, 1)

        sums = _two_before((key_features.mT @ values).cumsum(dim=2))
        before = _two_before(kept.any(dim=3, keepdim=True).cummax(dim=2).values)
        k, key_features, values, kept = map(
            _beside_the_one_before, (k, key_features, values, kept)
        )
        row = torch.arange(window, device=q.device)[:, None]
        distance = row - torch.arange(2 * window, device=q.device) + window
        near = kept.mT & (distance >= 0) & (distance < window)
        far = kept.mT & (distance >= window)
        has_far = far.any(dim=-1, keepdim=True) | before

        near_weights, r = self.weigh_near(q @ k.mT, near, has_far)
        far_weights = r * (query_features @ key_features.mT)
        weights = near_weights.where(near, far_weights.masked_fill(~far, 0.0))
        out = weights @ values + r * (query_features @ sums)
        return normalise(out.flatten(2, 3)[:, :, :length])

    def absorb(
        self,
        state: NearAndFar | None,
        k: Float[Tensor, "B H M F"],
        v: Float[Tensor, "B H M E"],
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> NearAndFar:
        """Take the keys into the window; those that drop out of it join the far sum."""
        window, padded = self.config.window, padded_keys(k, key_padding_mask)
        if state is None:  # the first keys of the window stand for positions before 0
            k, v = (F.pad(x, (0, 0, window, 0)) for x in (k, v))
            padded = F.pad(padded, (window, 0), value=True)
        else:
            k, v = (torch.cat(pair, dim=2) for pair in ((state.near.k, k), (state.near.v, v)))
            padded = torch.cat((state.near.key_padding_mask, padded), dim=1)
        far = in_float32(self._outer_products)(
            k[:, :, :-window], v[:, :, :-window], padded[:, :-window]
        )
        has_far = (~padded[:, :-window]).any(dim=1)[:, None, None, None]
        if state is not None:
            far, has_far = state.far + far, state.has_far | has_far
        near = KeyValueCache(k[:, :, -window:], v[:, :, -window:], padded[:, -window:])
        return NearAndFar(near, far, has_far)

    def recall(self, q: Float[Tensor, "B H 1 F"], state: NearAndFar) -> Float[Tensor, "B H 1 E"]:
        """Weigh the window and the far sum for the last query."""
        return at_least_float32(self._recall)(q, state)

    def _outer_products(
        self,
        k: Float[Tensor, "B H M F"],
        v: Float[Tensor, "B H M E"],
        padded: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B H J G"]:
        return hide(self.key_features(k), padded).mT @ with_ones(v)

    def _recall(self, q: Float[Tensor, "B H 1 F"], state: NearAndFar) -> Float[Tensor, "B H 1 E"]:
        near = ~state.near.key_padding_mask[:, None, None, :]
        weights, r = self.weigh_near(q @ state.near.k.mT, near, state.has_far)
        near_sum = weights.masked_fill(~near, 0.0) @ with_ones(state.near.v)
        return normalise(near_sum + r * (self.query_features(q) @ state.far))


def _beside_the_one_before(x: Tensor) -> Tensor:
    """Put each block (B, H, n, w, ...) behind the one before it, the first behind zeros."""
    before = torch.cat((torch.zeros_like(x[:, :, :1]), x[:, :, :-1]), dim=2)
    return torch.cat((before, x), dim=3)


def _two_before(x: Tensor) -> Tensor:
    """Move the blocks (B, H, n, ...) on by two, behind zeros."""
    zeros = torch.zeros_like(x[:, :, :2])
    return torch.cat((zeros, x[:, :, :-2]), dim=2)[:, :, : x.shape[2]]
