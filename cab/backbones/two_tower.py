"""Two sequences that one encoder encodes independently, and a comparison of both.

The dual encoder of Long Range Arena's matching task (Tay et al., 2020, arXiv 2011.04006), which
concatenates the two vectors a and b. Later work concatenates (a, b, a * b, a - b), with which all
mechanisms score about 20 points more (Xiong et al., 2021, arXiv 2102.03902), so it is a setting.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.backbones.classifier import ClassifierConfig, SequenceEncoder
from cab.backbones.slots import Slots, Width


@dataclass(frozen=True)
class TwoTowerConfig:
    """Sizes: vocabulary, maximum length, classes; how the two vectors are joined and made.

    pool is that of `ClassifierConfig`.
    """

    width: Width
    vocabulary: int
    length: int
    classes: int
    join: Literal["ends", "products"] = "products"
    pool: Literal["mean", "first", "cls"] = "mean"


class TwoTower(nn.Module):
    """Class logits of a pair of sequences. Slot: encoder_self (NS), the same for both."""

    def __init__(self, config: TwoTowerConfig, slots: Slots) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.encoder = SequenceEncoder(
            ClassifierConfig(
                width,
                config.classes,
                config.length,
                vocabulary=config.vocabulary,
                pool=config.pool,
            ),
            slots,
        )
        joined = width.dim * (4 if config.join == "products" else 2)
        self.head = nn.Sequential(
            nn.Linear(joined, width.expansion * width.dim),
            nn.GELU(),
            nn.Linear(width.expansion * width.dim, config.classes),
        )

    def forward(
        self, pairs: Int[Tensor, "B 2 N"], padding: Bool[Tensor, "B 2 N"]
    ) -> Float[Tensor, "B K"]:
        """Return logits over the classes."""
        first, second = (
            self.encoder(pairs.flatten(0, 1), padding.flatten(0, 1))
            .view(len(pairs), 2, -1)
            .unbind(dim=1)
        )
        vectors = [first, second]
        if self.config.join == "products":
            vectors += [first * second, first - second]
        return self.head(torch.cat(vectors, dim=-1))
