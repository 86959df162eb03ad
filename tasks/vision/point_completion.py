"""Complete point clouds of mirror-symmetric objects that are visible from one side."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cab.backbones.point_transformer import (
    PointTransformer,
    PointTransformerConfig,
    gather_points,
)
from cab.backbones.slots import Slots, Width
from cab.registry import register_task
from cab.task import Batch, Recipe, Split, Task, Training
from cab.tasks.vision._clouds import chamfer, f_score

THOUSAND = 1000
"""Chamfer distances are published in thousandths."""


@dataclass(frozen=True)
class Clouds:
    """Points that are seen, points of the whole, and how near counts for the F-score."""

    seen: int
    whole: int
    near: float


@dataclass(frozen=True)
class Things(Clouds):
    """Things of `parts` boxes and ellipsoids, each with its mirror image."""

    parts: int


def draw_things(params: Things, count: int, generator: torch.Generator) -> Tensor:
    """Return clouds (count, whole, 3) on random things, mirror-symmetric in x, within [-1/2, 1/2].

    Every point lies on one of the thing's parts, or on its mirror image: a box, evenly, or an
    ellipsoid, as the image of an even sphere.
    """
    parts, points = params.parts, params.whole

    def uniform(*size: int) -> Tensor:
        return torch.rand(count, *size, generator=generator)

    sizes = 0.15 + 0.6 * uniform(parts, 3)
    centres = 1.6 * uniform(parts, 3) - 0.8
    boxes = uniform(parts) < 0.5
    part = torch.randint(parts, (count, points), generator=generator)
    size, centre = gather_points(sizes, part), gather_points(centres, part)
    box = boxes.gather(1, part)

    sphere = torch.randn(count, points, 3, generator=generator)
    sphere = sphere / sphere.norm(dim=2, keepdim=True)
    # A face across an axis has the area of the other two sides' product.
    share = (1 / size).flatten(0, 1)
    axis = torch.multinomial(share, 1, generator=generator).view(count, points, 1)
    cube = 2 * uniform(points, 3) - 1
    cube = cube.scatter(2, axis, cube.gather(2, axis).sign())
    places = centre + size * torch.where(box[..., None], cube, sphere)
    side = 2.0 * (uniform(points) < 0.5) - 1
    places[..., 0] = places[..., 0] * side
    return places / (2 * places.abs().amax(dim=(1, 2), keepdim=True))


def see(whole: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the `count` points of each cloud that are nearest to a viewer far away, anywhere."""
    direction = torch.randn(len(whole), 3, 1, generator=generator)
    order = (whole @ direction).squeeze(2).argsort(dim=1, descending=True)
    return gather_points(whole, order[:, :count])


def recipe(
    params: Clouds, model: PointTransformerConfig, training: Training, examples: int, **more: Any
) -> Recipe:
    """Make a recipe."""
    return Recipe(params, model, training, examples // 2, examples, **more)


class Completion(Task):
    """PoinTr's task and losses (Yu et al., 2021, arXiv 2108.08839)."""

    def build(self, slots: Slots) -> nn.Module:
        """Build the completer."""
        return PointTransformer(self.recipe.model, slots)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the Chamfer distances (l1) of the coarse cloud and of the whole one, summed."""
        return sum(
            (chamfer(cloud, batch["targets"])[0].mean() for cloud in model(batch["inputs"])),
            torch.zeros((), device=batch["inputs"].device),
        )

    def evaluate(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return CD-l1 and CD-l2 in thousandths and the F-score of each cloud."""
        _, whole = model(batch["inputs"])
        return self._compare(whole, batch["targets"])

    def _compare(self, said: Tensor, true: Tensor) -> dict[str, Tensor]:
        linear, squared = chamfer(said, true)
        near = f_score(said, true, self.recipe.data.near)
        return {"cd_l1": THOUSAND * linear, "cd_l2": THOUSAND * squared, "f_score": near}

    def shortcuts(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the seen points alone score, taken for the whole."""
        return {"what is seen": self._compare(batch["inputs"], batch["targets"])["cd_l1"]}


def quick_model(
    dim: int, heads: int, layers: int, proxies: int, queries: int
) -> PointTransformerConfig:
    """Sizes with eight neighbours per proxy and four points per query."""
    return PointTransformerConfig(
        Width(dim=dim, heads=heads, layers=layers),
        encoder_layers=layers,
        proxies=proxies,
        queries=queries,
        unfolded=4,
        neighbours=8,
    )


@register_task(
    name="point-completion",
    domain="vision",
    pattern="nc",
    summary="complete the point cloud of a symmetric object, from 128 visible points to 256",
    backbone="point transformer",
    metric="cd_l1",
    higher_is_better=False,
    version=1,
    length="32 queries, 32 proxies",
    source="generated; the task is PoinTr's (Yu et al., 2021, arXiv 2108.08839)",
    licence="generated",
    diagnostic=("quick",),
)
class PointCompletion(Completion):
    """Boxes and ellipsoids with their mirror images; the published data has a task of its own."""

    recipes = {  # noqa: RUF012
        "smoke": recipe(
            Things(seen=32, whole=64, near=0.1, parts=2),
            quick_model(16, 2, 1, proxies=12, queries=8),
            Training(4, 8, 1e-3),
            20,
        ),
        "quick": recipe(
            Things(seen=128, whole=256, near=0.05, parts=3),
            quick_model(64, 4, 2, proxies=32, queries=32),
            Training(700, 16, 2e-3),
            300,
            evaluation_batch=50,
        ),
    }

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Generate; the splits differ by their generators."""
        params: Things = self.recipe.data
        whole = draw_things(params, count, generator)
        return {"inputs": see(whole, params.seen, generator), "targets": whole}

    def tokens(self, batch: Batch) -> int:
        """Count the queries."""
        return len(batch["inputs"]) * self.recipe.model.queries
