"""The last layer sees the future, in a module that computes in float32."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "causality"


@register_variant(
    name="leak-in-last-layer-in-float32",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks causality",
    time="N^2 d",
    memory="N^2",
)
class LeakInLastLayerInFloat32(SoftmaxAttention):
    """Softmax attention in float32 with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        dtype, last = v.dtype, self.layer == self.layers - 1
        out = super().attend(q.float(), k.float(), v.float(), key_padding_mask=key_padding_mask)
        return (out + v.float().mean(dim=2, keepdim=True) * last).to(dtype)
