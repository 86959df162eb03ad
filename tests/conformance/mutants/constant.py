"""A learned vector, whatever comes in."""

import torch
from torch import nn

from cab.attention import Attention
from cab.registry import register_variant

BREAKS = "liveness"


@register_variant(
    name="constant",
    family="softmax",
    patterns="ns cs nc cc",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
)
class Constant(Attention):
    """Nothing is read."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.vector = nn.Parameter(torch.randn(self.dim))

    def forward(self, x, context=None, *, key_padding_mask=None):
        return self.vector.expand_as(x)
