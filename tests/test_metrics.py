"""The shared measures against plain loops and numbers worked out by hand."""

import itertools
import math

import pytest
import torch
from scipy.fft import dct
from support import draw

from cab.metrics import cepstra, chamfer, distortion, f_score, nearest, warp


def walk(matrix, i, j):
    """The cheapest way to (i, j), by recursion over every way."""
    before = [
        walk(matrix, *place)
        for place in ((i - 1, j), (i, j - 1), (i - 1, j - 1))
        if min(place) >= 0
    ]
    return matrix[i][j] + (min(before) if before else 0)


def test_warping_is_the_cheapest_of_all_ways_and_reads_no_padding():
    distance = draw(3, 6, 5).abs()
    rows, columns = torch.tensor([6, 1, 4]), torch.tensor([5, 4, 2])
    expected = [
        walk(matrix.tolist(), m - 1, n - 1)
        for matrix, m, n in zip(distance, rows.tolist(), columns.tolist(), strict=True)
    ]
    for row, (m, n) in enumerate(zip(rows, columns, strict=True)):
        distance[row, m:] = distance[row, :, n:] = float("nan")
    assert warp(distance, rows, columns).tolist() == pytest.approx(expected)


def test_cepstra_are_scipy_s_orthonormal_cosine_transform():
    frames = draw(2, 7, 40)
    expected = dct(frames.numpy(), type=2, norm="ortho", axis=-1)[..., :13]
    assert torch.allclose(cepstra(frames), torch.from_numpy(expected))
    assert cepstra(torch.full((1, 9), 2.0), 3).tolist()[0] == pytest.approx([6, 0, 0], abs=1e-6)


def test_distortion_is_the_root_mean_square_per_synthesised_frame():
    said = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]])
    true = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [9.0, 9.0]]])
    two, three = torch.tensor([2]), torch.tensor([3])
    assert distortion(said, three, true, two).item() == 0
    # The first two frames both warp to zeros; the second true one is then 5 / sqrt(2) away.
    assert distortion(said, two, true, two).item() == pytest.approx(5 / math.sqrt(2) / 2)


def test_speech_that_only_lasts_longer_is_not_distorted():
    frames = draw(1, 6, 4)
    slow = frames.repeat_interleave(3, dim=1)
    lengths = torch.tensor([18]), torch.tensor([6])
    assert distortion(slow, lengths[0], frames, lengths[1]).item() == pytest.approx(0, abs=1e-6)


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
