"""Agent attention: a few pooled queries attend to all keys, then all queries attend to them."""

from dataclasses import dataclass
from typing import Any, Unpack

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cab.attention import Geometry, MultiHeadAttention
from cab.registry import register_variant
from cab.variants.linear._features import padded_keys, softmax_over_visible
from cab.variants.linear._segments import segments


@register_variant(
    name="agent",
    family="linear",
    patterns="ns nc",
    extended="nc",
    summary="pooled queries attend to all keys; then all queries attend to the pooled ones",
    paper="Agent Attention: On the Integration of Softmax and Linear Attention (Han et al.)",
    year=2023,
    arxiv="2312.08874",
    padding="distance",
    time="N agents d",
    memory="N agents H",
    published_defaults="49 agents, a quarter of 196 tokens, pooled over squares, and position "
    "biases; here 16, pooled over runs of tokens, without position biases",
    added="2026-11-21",
)
class AgentAttention(MultiHeadAttention):
    r"""Attend twice, through agents :math:`A`: means of the queries over segments.

    .. math:: O = \sigma(Q A^\top) \, \sigma(A K^\top) \, V + \mathrm{DWC}(V)

    with :math:`\sigma` the softmax of rows after division by :math:`\sqrt{E}` and DWC a depthwise
    convolution of values over 3 x 3 neighbours, or 3 in a sequence, which restores what the
    agents blur; NC has none, for its values stand in another sequence. Segments run along the
    sequence where the paper pools squares, and its position biases are left out. The agents
    hold later queries, so there is no causal form.
    """

    @dataclass(frozen=True)
    class Config:
        """agents: how many pooled queries."""

        agents: int = 16

        def __post_init__(self) -> None:
            if self.agents < 1:
                raise ValueError("agents must be at least 1")

    config: Config

    def __init__(self, config: Any = None, **geometry: Unpack[Geometry]) -> None:
        super().__init__(config, **geometry)
        self.window = (1, 3) if self.grid is None else (3, 3)
        if not self.pattern.cross:
            self.convolution = nn.Conv2d(
                self.dim, self.dim, self.window, padding="same", groups=self.dim
            )

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H M E"],
        v: Float[Tensor, "B H M E"],
        *,
        key_padding_mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return O; the agents' part is 0 if all keys are padded."""
        padded = padded_keys(k, key_padding_mask)
        cross = self.pattern.cross
        pooled = segments(padded_keys(q, None) if cross else padded, self.config.agents)
        agents, q = pooled.means(q), q / self.head_width**0.5
        scores = agents / self.head_width**0.5 @ k.mT
        read = softmax_over_visible(scores, padded[:, None, None, :]) @ v
        mixed = softmax_over_visible(q @ agents.mT, pooled.absent[:, None, None, :]) @ read
        return mixed if cross else mixed + self._convolve(v)

    def _convolve(self, v: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H N E"]:
        """Convolve the values; a sequence is a picture of one row."""
        values, length = self.merge_heads(v), v.shape[2]
        columns = length if self.grid is None else self.grid[1]
        picture = F.pad(values, (0, 0, 0, -length % columns)).unflatten(1, (-1, columns))
        near = self.convolution(picture.permute(0, 3, 1, 2)).flatten(2).mT
        return self.split_heads(near[:, :length])
