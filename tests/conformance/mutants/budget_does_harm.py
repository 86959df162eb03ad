"""An approximation that is worse the larger its budget is."""

from dataclasses import dataclass

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "numerics"


@register_variant(
    name="budget-does-harm",
    family="softmax",
    patterns="ns",
    summary="a mutant: breaks numerics",
    time="N^2 d",
    memory="N^2",
    budget="features",
)
class BudgetDoesHarm(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    @dataclass(frozen=True)
    class Config:
        """features: more of them blur more."""

        features: int = 16

    def attend(self, q, k, v, *, key_padding_mask=None):
        return super().attend(q / self.config.features, k, v, key_padding_mask=key_padding_mask)
