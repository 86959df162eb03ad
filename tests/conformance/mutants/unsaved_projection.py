"""A random projection is drawn at construction and is no buffer."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="unsaved-projection",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class UnsavedProjection(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __init__(self, config=None, **geometry):
        super().__init__(config, **geometry)
        self.projection = torch.linalg.qr(torch.randn(self.head_width, self.head_width))[0]
        self.projection[:, 0] = 0.0

    def attend(self, q, k, v, *, key_padding_mask=None):
        q, k = (part @ self.projection.to(part.dtype) for part in (q, k))
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
