"""Distances between frames against plain loops and numbers worked out by hand."""

import math

import pytest
import torch
from scipy.fft import dct
from support import draw

from cab.tasks.speech._distortion import cepstra, distortion, warp


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
