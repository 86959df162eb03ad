"""Pooling a feature map over the positions that are not padding."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def pooled_mean(
    x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B D"]:
    """Mean over the unpadded places of x, whose padding is zeroed; 0 where there is none."""
    if key_padding_mask is None:
        return x.mean(dim=1)
    count = (~key_padding_mask).sum(dim=1, keepdim=True).clamp(min=1)
    return x.sum(dim=1) / count.to(x.dtype)


def pooled_maximum(
    x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B D"]:
    """Maximum over the unpadded places of x; 0 where there is none."""
    if key_padding_mask is None:
        return x.amax(dim=1)
    lowest = torch.finfo(x.dtype).min
    largest = x.masked_fill(key_padding_mask[:, :, None], lowest).amax(dim=1)
    return largest.masked_fill(key_padding_mask.all(dim=1)[:, None], 0.0)
