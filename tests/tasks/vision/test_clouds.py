"""Distances between clouds against plain loops and numbers worked out by hand."""

import itertools
import math

import pytest
import torch
from support import draw

from cab.tasks.vision._clouds import chamfer, f_score, nearest


def test_the_nearest_point_is_found_by_comparing_all():
    points, others = draw(2, 1500, 3), draw(2, 7, 3)[:, :, :] + 0.1
    squared = nearest(points, others)
    for row, at in itertools.product(range(2), (0, 1023, 1024, 1499)):
        each = [(points[row, at] - other).square().sum().item() for other in others[row]]
        assert squared[row, at].item() == pytest.approx(min(each))


def test_chamfer_distances_are_those_worked_out_by_hand():
    said = torch.tensor([[[0.0, 0, 0], [0, 0, 1]]])
    true = torch.tensor([[[0.0, 0, 0], [0, 3, 4], [0, 0, 3]]])
    # Said to true: 0 and 1. True to said: 0, sqrt(9 + 9) and 2.
    linear, squared = chamfer(said, true)
    assert linear.item() == pytest.approx(((0 + 1) / 2 + (0 + math.sqrt(18) + 2) / 3) / 2)
    assert squared.item() == pytest.approx((0 + 1) / 2 + (0 + 18 + 4) / 3)


def test_chamfer_pulls_a_point_to_its_nearest_and_stays_finite_where_clouds_touch():
    said = torch.tensor([[[0.0, 0, 0], [0, 0, 2]]], requires_grad=True)
    true = torch.tensor([[[0.0, 0, 0], [0, 0, 3]]])
    linear, _ = chamfer(said, true)
    (gradient,) = torch.autograd.grad(linear.sum(), said)
    assert gradient[0].tolist() == [[0, 0, 0], [0, 0, pytest.approx(-0.5)]]


def test_the_f_score_is_the_harmonic_mean_of_precision_and_recall():
    said = torch.tensor([[[0.0, 0, 0], [0, 0, 1]], [[5.0, 0, 0], [5, 0, 1]]])
    true = torch.tensor([[[0.0, 0, 0.05], [0, 0, 0.01], [9, 0, 0]]] * 2)
    # Of two said points one is near a true one; of three true ones, two.
    expected = 2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3)
    assert f_score(said, true, 0.1).tolist() == pytest.approx([expected, 0])
    assert f_score(said, true, 0.005).tolist() == [0, 0]
