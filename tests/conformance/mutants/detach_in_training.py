"""Keys of head 0 detached in training only."""

import torch

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "determinism"


@register_variant(
    name="detach-in-training",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks determinism",
    time="N^2 d",
    memory="N^2",
)
class DetachInTraining(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        if self.training:
            k = torch.cat((k[:, :1].detach(), k[:, 1:]), dim=1)
        return super().attend(q, k, v, key_padding_mask=key_padding_mask)
