"""A PoinTr-style completer of point clouds (Yu et al., 2021, arXiv 2108.08839).

Distant points of the partial cloud and their neighbourhoods (proxies) are encoded. A coarse cloud
of the missing part is predicted from all of them. Each coarse point becomes a query, attends to
the encoded proxies, and unfolds into a patch of points. The paper's geometry-aware branch, a
convolution over nearest neighbours parallel to the first attention layers, is left out, since
attention is being tested.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cab.backbones.layers import Layer
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern


@dataclass(frozen=True)
class PointTransformerConfig:
    """Sizes: proxies from the given points, queries, points that each query unfolds into.

    width.layers are those of the decoder, encoder_layers those of the encoder; a proxy describes
    its `neighbours` nearest points.
    """

    width: Width
    encoder_layers: int
    proxies: int
    queries: int
    unfolded: int
    neighbours: int


def farthest_points(points: Float[Tensor, "B N 3"], count: int) -> Int[Tensor, "B K"]:
    """Choose points one by one, each the farthest from those before, starting with point 0.

    Raises:
        ValueError: there are fewer than `count` points.
    """
    if count > points.shape[1]:
        raise ValueError(f"cannot choose {count} of {points.shape[1]} points")
    chosen = torch.zeros(len(points), 1, dtype=torch.long, device=points.device)
    nearest = torch.full_like(points[..., 0], torch.inf)
    for _ in range(count - 1):
        last = points.gather(1, chosen[:, -1:, None].expand(-1, -1, 3))
        nearest = torch.minimum(nearest, (points - last).square().sum(dim=-1))
        chosen = torch.cat((chosen, nearest.argmax(dim=1, keepdim=True)), dim=1)
    return chosen


def gather_points(points: Float[Tensor, "B N F"], index: Int[Tensor, "B K"]) -> Tensor:
    """Return points[b, index[b]]: (B, K, F)."""
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[2]))


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers with GELU between them."""
    parts: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(sizes):
        parts += [nn.Linear(wide, narrow), nn.GELU()]
    return nn.Sequential(*parts[:-1])


class Proxies(nn.Module):
    """Centres and features of their neighbourhoods: the maximum over an edge network.

    An edge is the neighbour's place relative to the centre, beside the centre's own place
    (EdgeConv: Wang et al., 2019, arXiv 1801.07829).
    """

    def __init__(self, config: PointTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.edge = perceptron(6, config.width.dim, config.width.dim)

    def forward(
        self, points: Float[Tensor, "B N 3"]
    ) -> tuple[Float[Tensor, "B K 3"], Float[Tensor, "B K D"]]:
        """Return the centres and their descriptions."""
        centres = gather_points(points, farthest_points(points, self.config.proxies))
        near = torch.cdist(centres, points).topk(self.config.neighbours, largest=False).indices
        around = gather_points(points, near.flatten(1)).unflatten(1, near.shape[1:])
        own = centres[:, :, None].expand_as(around)
        return centres, self.edge(torch.cat((around - own, own), dim=-1)).amax(dim=2)


class PointTransformer(nn.Module):
    """Completes a partial cloud. Slots: encoder_self, decoder_self (NS), cross (NC)."""

    def __init__(self, config: PointTransformerConfig, slots: Slots) -> None:
        super().__init__()
        self.config = config
        width = config.width
        dim, longest = width.dim, max(config.proxies, config.queries)
        self.proxies = Proxies(config)
        self.place = perceptron(3, dim, dim)
        self.encoder = nn.ModuleList(
            Layer(
                width,
                slots.fill(
                    "encoder_self", Pattern.NS, width, longest, layers=config.encoder_layers
                ),
            )
            for _ in range(config.encoder_layers)
        )
        self.source_norm = nn.LayerNorm(dim)
        self.summary = perceptron(dim, 4 * dim)
        self.coarse = perceptron(4 * dim, 4 * dim, 3 * config.queries)
        self.query = perceptron(4 * dim + 3, dim, dim)
        self.decoder = nn.ModuleList(
            Layer(
                width,
                slots.fill("decoder_self", Pattern.NS, width, longest),
                slots.fill("cross", Pattern.NC, width, longest),
            )
            for _ in range(width.layers)
        )
        self.norm = nn.LayerNorm(dim)
        # Unfolding (FoldingNet, Yang et al., 2018, arXiv 1712.07262): each point of a patch has
        # learned coordinates on the sheet that the query bends.
        self.sheet = nn.Parameter(torch.randn(config.unfolded, 2))
        self.bend = perceptron(dim + 2, dim, 3)
        self.fold = perceptron(dim + 3, dim, 3)

    def forward(
        self, points: Float[Tensor, "B N 3"]
    ) -> tuple[Float[Tensor, "B Q 3"], Float[Tensor, "B P 3"]]:
        """Return the coarse cloud and the whole one, both with what was given.

        Coarse are the queries and the proxies' centres, Q = queries + proxies; whole are the
        unfolded patches and the given points, P = queries x unfolded + N.
        """
        centres, described = self.proxies(points)
        memory = described + self.place(centres)
        for layer in self.encoder:
            memory = layer(memory)
        memory = self.source_norm(memory)
        summary = self.summary(memory).amax(dim=1)
        coarse = self.coarse(summary).unflatten(1, (self.config.queries, 3))
        told = summary[:, None].expand(-1, self.config.queries, -1)
        x = self.query(torch.cat((told, coarse), dim=-1))
        for layer in self.decoder:
            x = layer(x, memory)
        x = self.norm(x)[:, :, None].expand(-1, -1, self.config.unfolded, -1)
        sheet = self.sheet.expand(*x.shape[:2], -1, -1)
        patch = self.fold(torch.cat((x, self.bend(torch.cat((x, sheet), dim=-1))), dim=-1))
        unfolded = (coarse[:, :, None] + patch).flatten(1, 2)
        return torch.cat((coarse, centres), dim=1), torch.cat((unfolded, points), dim=1)
