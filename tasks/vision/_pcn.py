"""Point clouds of ShapeNet objects: the PCC task of the CAB paper, in two patterns."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from cab.backbones.point_transformer import PointTransformerConfig
from cab.backbones.slots import Width
from cab.data import HubSet, get_data_set, locate_part
from cab.task import Batch, PublishedTraining, Recipe, Split, Training, choose
from cab.tasks.vision._pcd import read_points
from cab.tasks.vision.point_completion import Clouds, Completion, recipe


@cache
def _things(directory: Path, split: Split) -> list[Path]:
    """The files of the whole clouds of a split."""
    pcn = get_data_set("pcn")
    assert isinstance(pcn, HubSet)
    return locate_part(pcn, directory, split)


def partial_views(whole: Path) -> list[Path]:
    """The files of the partial clouds of a whole one: partial/KIND/THING/*.pcd beside it."""
    kind = whole.parent.name
    return sorted((whole.parents[2] / "partial" / kind / whole.stem).glob("*.pcd"))


def resample(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` of the points (N, 3); where they are too few, all of them and repetitions."""
    order = torch.randperm(len(points), generator=generator)
    return points[order.repeat(-(-count // len(points)))[:count]]


def _recipe(
    width: Width,
    depth: int,
    proxies: int,
    queries: int,
    training: Training,
    examples: int,
    evaluations: int = 2,
) -> Recipe:
    model = PointTransformerConfig(
        width,
        encoder_layers=depth,
        proxies=proxies,
        queries=queries,
        unfolded=4,
        neighbours=16,
    )
    clouds = Clouds(seen=2_048, whole=16_384, near=0.01)
    return recipe(clouds, model, training, examples, evaluation_batch=8, evaluations=evaluations)


EPOCH = 28_974 // 48
"""Steps of an epoch; the last things of it, too few for a batch, are left out."""

RECIPES = {
    "standard": _recipe(
        Width(dim=192, heads=6, layers=4), 3, 1_536, 3_584, Training(20_000, 8, 5e-4), 200
    ),
    "full": _recipe(
        Width(dim=384, heads=6, layers=8),
        6,
        1_536,
        3_584,
        PublishedTraining(
            300 * EPOCH,
            48,
            5e-4,
            weight_decay=5e-4,
            warmup=0.0,
            gradient_clip=0.0,
            schedule="decay",
            decay=0.9 ** (1 / 21),
            every=EPOCH,
            lowest=0.02,
            keep="best",
        ),
        1_200,
        evaluations=30,
    ),
}


class CompletePcn(Completion):
    """Clouds of eight kinds of things; each epoch of PoinTr's sees one view of every thing."""

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Batch:
        """Choose things and views to train on; to validate and to test they are evenly spaced."""
        assert self.data_dir is not None
        things, params = _things(self.data_dir, split), self.recipe.data
        place = choose(count, len(things), generator)
        if split != "train":
            place = torch.linspace(0, len(things) - 1, count).long()
        seen, whole = [], []
        for thing in (things[at] for at in place.tolist()):
            views = partial_views(thing)
            view = views[int(choose(1, len(views), generator))]
            seen.append(resample(read_points(view), params.seen, generator))
            whole.append(resample(read_points(thing), params.whole, generator))
        return {"inputs": torch.stack(seen), "targets": torch.stack(whole)}

    def tokens(self, batch: Batch) -> int:
        """Count the queries."""
        return len(batch["inputs"]) * self.recipe.model.queries
