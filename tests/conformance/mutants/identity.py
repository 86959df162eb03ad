"""The stream comes back as it went in."""

from cab.attention import Attention
from cab.registry import register_variant

BREAKS = "liveness"


@register_variant(
    name="identity",
    family="softmax",
    patterns="ns cs",
    summary="a mutant: breaks liveness",
    time="N^2 d",
    memory="N^2",
)
class Identity(Attention):
    """Nothing is mixed."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        return x if key_padding_mask is None else x.masked_fill(key_padding_mask[:, :, None], 0.0)
