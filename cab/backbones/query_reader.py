"""An encoder and questions: each question attends to the encoded source independently.

The design is that of DETR (Carion et al., 2020, arXiv 2005.12872), with given instead of learned
questions, and without attention between them.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cab.backbones.layers import GridPositions, Layer, LearnedPositions
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class QueryReaderConfig:
    """Sizes: up to `length` source tokens of `features` numbers, kinds of question and of answer.

    grid is (height, width) if the source is an image in raster order, otherwise None.
    """

    width: Width
    features: int
    length: int
    questions: int
    answers: int
    grid: tuple[int, int] | None = None


class QueryReader(nn.Module):
    """Logits over the answers, per question. Slots: encoder_self (NS), cross (NC)."""

    def __init__(self, config: QueryReaderConfig, slots: Slots) -> None:
        super().__init__()
        width, length, grid = config.width, config.length, config.grid
        self.embed_source = nn.Linear(config.features, width.dim)
        self.embed_question = nn.Embedding(config.questions, width.dim)
        # What is asked for are places: positions as loud as the content are learned much sooner.
        self.positions = (
            LearnedPositions(length, width.dim, spread=1.0)
            if grid is None
            else GridPositions(grid, width.dim, spread=0.5)
        )
        self.encoder = nn.ModuleList(
            Layer(width, slots.fill("encoder_self", Pattern.NS, width, length, grid))
            for _ in range(width.layers)
        )
        self.readers = nn.ModuleList(
            Layer(width, cross_attention=slots.fill("cross", Pattern.NC, width, length))
            for _ in range(width.layers)
        )
        self.source_norm = nn.LayerNorm(width.dim)
        self.norm = nn.LayerNorm(width.dim)
        self.head = nn.Linear(width.dim, config.answers)

    def forward(
        self,
        source: Float[Tensor, "B M F"],
        questions: Int[Tensor, "B N"],
        source_padding: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B N A"]:
        """Return logits over the answers, one row per question."""
        memory = self.positions(self.embed_source(source))
        for layer in self.encoder:
            memory = layer(memory, padding=source_padding)
        memory, x = self.source_norm(memory), self.embed_question(questions)
        for layer in self.readers:
            x = layer(x, memory, context_padding=source_padding)
        return self.head(self.norm(x))
