"""CLEAR: each token of an image sees a circle around it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cab.attention import MultiHeadAttention
from cab.registry import register_variant
from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import absent_places, from_tiles, to_picture, to_tiles


@register_variant(
    name="clear",
    family="sparse",
    patterns="ns",
    summary="softmax over the image tokens within the Euclidean distance `radius`",
    paper="CLEAR: Conv-Like Linearization Revs Pre-Trained Diffusion Transformers Up (Liu, Tan, "
    "Wang)",
    year=2024,
    arxiv="2412.16112",
    time="N radius^2 d",
    memory="N radius^2",
    sees="(row_t - row_s)^2 + (column_t - column_s)^2 < radius^2",
    needs_grid=True,
    budget="radius",
    published_defaults="radius 8, 16 or 32 on 64 x 64 tokens; here 3 on 8 x 8, which is between "
    "these shares",
    added="2026-11-21",
)
class CircularWindowAttention(MultiHeadAttention):
    r"""Softmax over :math:`V_t = \{s : (i_t - i_s)^2 + (j_t - j_s)^2 < r^2\}`, row i and column j.

    .. math:: o_t = \sum_{s \in V_t} \mathrm{softmax}_s(q_t \cdot k_s / \sqrt{E}) v_s

    Tiles of r x r queries meet the tokens up to r - 1 beyond them in one product. The paper turns
    a trained model's attention into this one and lets text and picture tokens see each other;
    here all tokens are of the picture, and a model is trained with it.
    """

    @dataclass(frozen=True)
    class Config:
        """radius: tokens nearer than this are seen."""

        radius: int = 3

        def __post_init__(self) -> None:
            if self.radius < 1:
                raise ValueError("radius must be at least 1")

    config: Config

    def attend(
        self,
        q: Float[Tensor, "B H N E"],
        k: Float[Tensor, "B H N E"],
        v: Float[Tensor, "B H N E"],
        *,
        key_padding_mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B H N E"]:
        """Return o; a query that sees only padding gets 0."""
        assert self.grid is not None
        rows, columns = self.grid
        tile = min(self.config.radius, rows), min(self.config.radius, columns)
        reach = min(self.config.radius, rows) - 1, min(self.config.radius, columns) - 1
        queries = to_tiles(to_picture(q / self.head_width**0.5, self.grid), tile)
        keys, values = (to_tiles(to_picture(x, self.grid), tile, reach) for x in (k, v))
        absent = to_tiles(absent_places(k, key_padding_mask, self.grid), tile, reach, fill=True)
        down, across = (
            _distance(block, beyond, q.device) for block, beyond in zip(tile, reach, strict=True)
        )
        squared = down[:, None, :, None] ** 2 + across[None, :, None] ** 2
        far = squared.flatten(2, 3).flatten(0, 1) >= self.config.radius**2
        mixed = attend_visible(queries, keys, values, far | absent.mT)
        return from_tiles(mixed, tile, self.grid).flatten(2, 3)


def _distance(block: int, beyond: int, device: torch.device) -> Int[Tensor, "b m"]:
    """Along one axis, from each query of a tile to each key that the tile meets."""
    here = torch.arange(block, device=device)[:, None]
    return here + beyond - torch.arange(block + 2 * beyond, device=device)
