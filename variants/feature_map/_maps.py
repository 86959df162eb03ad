"""Tokens in raster order as a feature map, and a softmax over the places that are not padding.

Dimensions: B batch, N = R C tokens, D channels, R rows, C columns, K scores.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def to_map(x: Float[Tensor, "B N D"], grid: tuple[int, int] | None) -> Float[Tensor, "B D R C"]:
    """Lay tokens out as a map of channels; with `needs_grid` on the card, grid is never None."""
    assert grid is not None
    return x.mT.unflatten(2, grid)


def to_tokens(x: Float[Tensor, "B D R C"]) -> Float[Tensor, "B N D"]:
    """Undo `to_map`."""
    return x.flatten(2).mT


def zero_places(
    picture: Float[Tensor, "B D R C"], key_padding_mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B D R C"]:
    """Zero the padded places of a map, which a convolution fills."""
    if key_padding_mask is None:
        return picture
    return picture.masked_fill(key_padding_mask.unflatten(1, picture.shape[2:])[:, None], 0.0)


def over_places(
    scores: Float[Tensor, "B N K"], key_padding_mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B N K"]:
    """Softmax over the unpadded places, for each of K scores; padding gets 0."""
    if key_padding_mask is None:
        return scores.softmax(dim=1)
    absent = key_padding_mask[:, :, None]
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(absent, lowest).softmax(dim=1).masked_fill(absent, 0.0)
