"""Complete ShapeNet objects, self-attention under test: a part of the PCC task of CAB."""

from cab.registry import register_task
from cab.tasks.vision._pcn import RECIPES, CompletePcn


@register_task(
    name="point-completion-pcn-ns",
    domain="vision",
    pattern="ns",
    summary="complete objects of ShapeNet from 2,048 points to 16,384 (self-attention of encoder "
    "and decoder)",
    backbone="point transformer",
    metric="cd_l1",
    higher_is_better=False,
    version=1,
    length="1,536 proxies, 3,584 queries",
    data=("pcn",),
    source="PCN (Yuan et al., 2018, arXiv 1808.00671); PoinTr (Yu et al., 2021, arXiv "
    "2108.08839) and its training, with the numbers of proxies and queries of CAB (arXiv "
    "2210.07661). Unlike there, the geometry-aware branch is left out, norms are layer norms, "
    "validation has things of its own instead of the test's, and CAB published no result in ns; "
    "the set is not on a hub and must be downloaded by hand; not tested on the published files "
    "yet",
    licence="as ShapeNet: for research and education",
    suites={"cab": {"cd_l1": "CD-l1", "cd_l2": "CD-l2", "f_score": "F-score"}},
    diagnostic=("standard", "full"),
)
class PointCompletionPcnNs(CompletePcn):
    """The variant is the self-attention of encoder and decoder."""

    recipes = RECIPES
