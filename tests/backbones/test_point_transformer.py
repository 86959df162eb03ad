"""The completer of point clouds: farthest points, proxies, and what the whole is made of."""

from functools import partial

import pytest
import torch
from support import VARIANTS, draw, relative_difference

from cab.attention import build_attention
from cab.backbones.point_transformer import (
    PointTransformer,
    PointTransformerConfig,
    farthest_points,
    gather_points,
)
from cab.backbones.slots import Slots, Width
from cab.taxonomy import Pattern

CONFIG = PointTransformerConfig(
    Width(dim=12, heads=3, layers=2),
    encoder_layers=1,
    proxies=7,
    queries=5,
    unfolded=3,
    neighbours=4,
)


def made(pattern="nc"):
    factory = partial(build_attention, VARIANTS.load("softmax"), {})
    slots = Slots(Pattern(pattern), factory, factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PointTransformer(CONFIG, slots).double().eval(), slots


def test_each_point_chosen_is_the_farthest_from_those_before_it():
    points = draw(3, 20, 3)
    chosen = farthest_points(points, 8).tolist()
    for cloud, picked in zip(points, chosen, strict=True):
        expected = [0]
        while len(expected) < 8:
            nearest = [min((p - cloud[one]).norm().item() for one in expected) for p in cloud]
            expected.append(max(range(20), key=nearest.__getitem__))
        assert picked == expected
    with pytest.raises(ValueError, match="21 of 20 points"):
        farthest_points(points, 21)


def test_the_whole_holds_what_was_given_and_the_coarse_cloud_its_far_apart_points():
    model, slots = made()
    points = draw(2, 20, 3)
    coarse, whole = model(points)
    assert coarse.shape == (2, 5 + 7, 3)
    assert whole.shape == (2, 5 * 3 + 20, 3)
    assert torch.equal(whole[:, 15:], points)
    assert torch.equal(coarse[:, 5:], gather_points(points, farthest_points(points, 7)))
    names = [(name, str(pattern)) for name, pattern, _ in slots.filled]
    assert names == [("encoder_self", "ns")] + [("decoder_self", "ns"), ("cross", "nc")] * 2


def test_a_proxy_describes_its_neighbourhood_in_any_order_of_the_points():
    model, _ = made()
    points = draw(1, 20, 3)
    # The first point stays, for the choice of centres begins with it.
    order = [0, *reversed(range(1, 20))]
    assert relative_difference(model(points[:, order])[0], model(points)[0]) <= 1e-12
    _, before = model.proxies(points)
    near = torch.cdist(points[0, :1], points[0]).argsort(dim=1)[0]
    for rank, moves in ((0, True), (3, True), (4, False), (12, False)):
        changed = points.clone()
        changed[0, near[rank]] += 1e-4
        moved = (model.proxies(changed)[1] - before)[0, 0].abs().max()
        assert bool(moved > 1e-9) == moves


def test_every_completed_point_depends_on_every_proxy():
    model, _ = made()
    points = draw(1, 20, 3).requires_grad_()
    _, whole = model(points)
    described = farthest_points(points, 7)[0]
    for at in range(15):
        (gradient,) = torch.autograd.grad(whole[0, at].sum(), points, retain_graph=True)
        assert (gradient[0, described].abs().sum(dim=1) > 0).all()
