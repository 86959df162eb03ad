"""Uniform attention: the control that averages all visible tokens."""

from typing import Any, NamedTuple, Unpack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.attention import Attention, Geometry, read_decoding_context, read_source
from cab.registry import register_variant


class RunningMean(NamedTuple):
    """The decode state: the sum of the values so far, and how many there were."""

    total: Float[Tensor, "B D"]
    count: Int[Tensor, "B 1"]


@register_variant(
    name="mean",
    family="control",
    patterns="ns cs nc cc",
    summary="a uniform average of the visible tokens (causal self: a running average)",
    role="control",
    time="N d",
    memory="N d",
    state="E + 1/H",
    added="2026-11-21",
)
class MeanAttention(Attention):
    r"""Average the visible values: :math:`y_t = W_o \frac{1}{|V_t|} \sum_{s \in V_t} W_v z_s`.

    z is the stream (self) or the context (cross); V_t are its unpadded positions, up to t in CS.
    """

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.value = nn.Linear(self.dim, self.dim, bias=False)
        self.output = nn.Linear(self.dim, self.dim, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Average, project. See `Attention.forward`."""
        x, source = read_source(self.pattern, x, context, key_padding_mask)
        values = self.value(source)
        kept = _counted(source, key_padding_mask)
        if self.pattern.causal and not self.pattern.cross:
            mean = values.cumsum(dim=1) / kept.cumsum(dim=1).clamp(min=1)
        else:
            mean = values.sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
        return self.output(mean.to(values.dtype).expand_as(x))

    def initial_state(
        self,
        batch: int,
        context: Float[Tensor, "B M D"] | None = None,
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> RunningMean:
        """Return the sum over the context (CC), or the empty sum (CS)."""
        context = read_decoding_context(self.pattern, context, key_padding_mask)
        if context is None:
            context = self.value.weight.new_zeros(batch, 0, self.dim)
        values = self.value(context)
        return RunningMean(values.sum(dim=1), _counted(context, key_padding_mask).sum(dim=1))

    def step(
        self, x: Float[Tensor, "B D"], state: RunningMean
    ) -> tuple[Float[Tensor, "B D"], RunningMean]:
        """Add the token (CS only) and return the mean."""
        if not self.pattern.cross:
            state = RunningMean(state.total + self.value(x), state.count + 1)
        return self.output(state.total / state.count.clamp(min=1)), state


def _counted(
    source: Float[Tensor, "B M D"], key_padding_mask: Bool[Tensor, "B M"] | None
) -> Int[Tensor, "B M 1"]:
    if key_padding_mask is None:
        return torch.ones_like(source[:, :, :1], dtype=torch.long)
    return (~key_padding_mask).long()[:, :, None]
