"""A bias of the keys cancels in the softmax: it is counted and never learns."""

import torch
from torch import nn

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="dead-parameter",
    family="softmax",
    patterns="ns nc",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class DeadParameter(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.unused = nn.Parameter(torch.randn(self.dim))
