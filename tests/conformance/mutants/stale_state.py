"""The token is answered before it is read: the state is one step old."""

from cab.registry import register_variant
from cab.variants.softmax.softmax import SoftmaxAttention

BREAKS = "decoding"


@register_variant(
    name="stale-state",
    family="softmax",
    patterns="cs",
    summary="a mutant: breaks decoding",
    time="N^2 d",
    memory="N^2",
    state="2 M E",
)
class StaleState(SoftmaxAttention):
    """Softmax attention with a planted fault."""

    def step(self, x, state):
        y, _ = super().step(x, state._replace(v=state.v.clone()))
        _, after = super().step(x, state)
        if state.v.shape[2]:
            token = x[:, None]
            y = self.output(
                self.merge_heads(self.recall(self.split_heads(self.query(token)), state))
            )
            y = y[:, 0]
        return y, after
