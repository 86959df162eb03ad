"""A hidden layer four times as wide as the model makes the values."""

from torch import nn

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "budget"


@register_variant(
    name="oversized",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks budget",
    time="N^2 d",
    memory="N^2",
)
class Oversized(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.value = nn.Sequential(
            nn.Linear(self.dim, 4 * self.dim, bias=False),
            nn.GELU(),
            nn.Linear(4 * self.dim, self.dim, bias=False),
        )
