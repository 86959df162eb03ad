"""A learned vector for each position, whatever comes in."""

import torch
from torch import nn

from cab.attention import Attention
from cab.registry import register_variant

BREAKS = "liveness"


@register_variant(
    name="position-only",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
)
class PositionOnly(Attention):
    """Nothing but positions is read."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.table = nn.Parameter(torch.randn(self.max_length, self.dim))

    def forward(self, x, context=None, *, key_padding_mask=None):
        return self.table[: x.shape[1]].expand_as(x)
