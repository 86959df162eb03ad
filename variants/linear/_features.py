"""Shared parts: features, softmax with padding, normalised sums of values."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def elu_plus_one(x: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
    """Return elu(x) + 1, by exp(x) below 0, where the sum cancels to nothing in float32."""
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def taylor_features(x: Float[Tensor, "B H N F"]) -> Float[Tensor, "B H N J"]:
    """Return features whose products are 1 + x.y + (x.y)^2 / 2: 1, x, and x_i x_j for i <= j."""
    i, j = torch.triu_indices(x.shape[-1], x.shape[-1], device=x.device)
    products = x[..., i] * x[..., j]
    products = torch.where(i == j, products / 2**0.5, products)
    return torch.cat((torch.ones_like(x[..., :1]), x, products), dim=-1)


def hide(
    x: Float[Tensor, "B H M E"], key_padding_mask: Bool[Tensor, "B M"] | None, value: float = 0.0
) -> Float[Tensor, "B H M E"]:
    """Fill the rows of padded positions with one number."""
    return (
        x if key_padding_mask is None else x.masked_fill(key_padding_mask[:, None, :, None], value)
    )


def padded_keys(
    x: Float[Tensor, "B H M E"], key_padding_mask: Bool[Tensor, "B M"] | None
) -> Bool[Tensor, "B M"]:
    """Return the mask, or one that hides nothing."""
    if key_padding_mask is not None:
        return key_padding_mask
    return torch.zeros(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device)


def softmax_over_visible(
    scores: Float[Tensor, "B H N M"], hidden: Bool[Tensor, "#B #H #N #M"], dim: int = -1
) -> Float[Tensor, "B H N M"]:
    """Normalise along dim over what is not hidden; hidden entries weigh 0, and so may all."""
    # The lowest finite number, not -inf: where all is hidden the weights stay finite.
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=dim)
    return weights.masked_fill(hidden, 0.0)


def with_ones(v: Float[Tensor, "B H M E"]) -> Float[Tensor, "B H M F"]:
    """Append a column of ones, so that the sum of the weights is one more value."""
    return F.pad(v, (0, 1), value=1.0)


def normalise(sums: Float[Tensor, "B H N F"]) -> Float[Tensor, "B H N E"]:
    """Divide by the last column, the sum of the weights; where that is 0 the answer is 0."""
    numerator, denominator = sums[..., :-1], sums[..., -1:]
    # Clamping the denominator instead would send infinite gradients through it.
    return numerator / denominator.masked_fill(denominator == 0, 1.0)
