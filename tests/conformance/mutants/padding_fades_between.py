"""A padded token adds nothing, but its gate still fades what came before it."""

import torch.nn.functional as F
from torch import nn

from cab.attention import MultiHeadAttention, read_source
from cab.registry import register_variant

BREAKS = "padding"


@register_variant(
    name="padding-fades-between",
    family="recurrent",
    patterns="cs",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class PaddingFadesBetween(MultiHeadAttention):
    """A sum with a decay that the token decides."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.gate = nn.Linear(self.dim, self.heads)

    def forward(self, x, context=None, *, key_padding_mask=None):
        x, _ = read_source(self.pattern, x, context, key_padding_mask)
        q, k, v = (self.split_heads(read(x)) for read in (self.query, self.key, self.value))
        faded = F.logsigmoid(self.gate(x)).mT.cumsum(dim=-1) / 32
        apart = (faded[..., :, None] - faded[..., None, :]).tril()
        return self.output(self.merge_heads((q @ k.mT * apart.exp()).tril() @ v))
