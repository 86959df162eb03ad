"""A batch without rows cannot be cut into heads."""

from torch import nn

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "padding"


@register_variant(
    name="empty-batch-fails",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks padding",
    time="N^2 d",
    memory="N^2",
)
class EmptyBatchFails(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def __call__(self, x, context=None, **options):
        x = x.reshape(x.shape[0], -1, self.dim)
        return nn.Module.__call__(self, x, context, **options)
