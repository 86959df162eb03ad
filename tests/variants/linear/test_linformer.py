"""Linformer against softmax over its projected keys."""

import torch
from linear_oracles import assert_is, error_to_softmax, softmax_twin
from support import DIM, build, draw, relative_difference

LENGTH = 256
"""The max_length with which `build` constructs."""


def attend_to_mixtures(attention, q, k, v, head):
    mixtures = attention.projection[:, : len(k)]
    scores = q @ (mixtures @ k).T / k.shape[1] ** 0.5
    return scores.softmax(dim=1) @ (mixtures @ v)


def test_linformer_is_softmax_over_mixtures_of_the_first_positions():
    assert_is("linformer", "ns", attend_to_mixtures, rank=6)


def test_an_identity_projection_is_softmax_attention():
    attention, x = build("linformer", "ns", rank=LENGTH), draw(2, LENGTH, DIM)
    with torch.no_grad():
        attention.projection.copy_(torch.eye(LENGTH))
    assert relative_difference(attention(x), softmax_twin(attention)(x)) <= 1e-12


def test_a_higher_rank_comes_nearer_to_softmax():
    errors = [error_to_softmax("linformer", "ns", rank=rank) for rank in (2, 8, 32)]
    assert errors[0] > errors[1] > errors[2]
