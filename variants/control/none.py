"""No attention: the control that mixes no tokens."""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.attention import Attention, State, read_decoding_context, read_source
from cab.registry import register_variant


@register_variant(
    name="none",
    family="control",
    patterns="ns cs nc cc",
    summary="no attention: each token is passed on unchanged, and no context is read",
    role="no_attention",
    time="N d",
    memory="N d",
    state="0",
    sees="not cross and t == s",
    added="2026-11-21",
)
class NoAttention(Attention):
    r"""Return the input unchanged: :math:`y_t = x_t`; the context is ignored."""

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Return x, with the padding of the self patterns zeroed."""
        queries, _ = read_source(self.pattern, x, context, key_padding_mask)
        return queries

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> State:
        """Return the empty state."""
        read_decoding_context(self.pattern, context, key_padding_mask)
        return ()

    def step(self, x: Float[Tensor, "B D"], state: State) -> tuple[Float[Tensor, "B D"], State]:
        """Return the token as it came."""
        return x, state
