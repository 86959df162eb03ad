"""Keys are sampled anew in every call, in evaluation too."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="samples-in-evaluation",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class SamplesInEvaluation(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        kept = torch.rand(k.shape[2]) < 0.5
        k = torch.where(kept[:, None], k, 0.5 * k)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
