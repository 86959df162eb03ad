"""Half of the gradient of the values is lost, in a module that computes in float32."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "gradients"


@register_variant(
    name="half-detached-in-float32",
    family="softmax",
    patterns="ns cs",
    summary="a mutant: breaks gradients",
    time="N^2 d",
    memory="N^2",
)
class HalfDetachedInFloat32(SoftmaxAttention):
    """Softmax attention in float32 with a planted fault."""

    def attend(self, q, k, v, *, key_padding_mask=None):
        dtype, v = v.dtype, (v + v.detach()) / 2
        out = super().attend(q.float(), k.float(), v.float(), key_padding_mask=key_padding_mask)
        return out.to(dtype)
