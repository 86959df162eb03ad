"""Masked language models: how much is hidden, how it is shown, and what is measured."""

import math

import pytest
import torch

from cab.seeding import generator
from cab.tasks.language._masking import IGNORED, mask, nats

MASK = 7


def masked(rows=400, length=40):
    tokens = torch.randint(7, (rows, length), generator=generator("tokens"))
    return tokens, *mask(tokens, 7, MASK, generator("mask"))


def test_every_row_asks_for_the_same_number_of_tokens_and_shows_the_rest():
    tokens, shown, targets = masked()
    asked = targets != IGNORED
    assert set(asked.sum(dim=1).tolist()) == {6}
    assert torch.equal(targets[asked], tokens[asked])
    assert torch.equal(shown[~asked], tokens[~asked])
    assert not (tokens == MASK).any()
    per_place = asked.float().mean(dim=0)
    assert per_place.min() > 0.08
    assert per_place.max() < 0.22


def test_of_what_is_asked_for_most_is_hidden_some_is_wrong_and_some_is_shown():
    tokens, shown, targets = masked(4000)
    asked = targets != IGNORED
    hidden = shown[asked] == MASK
    same = shown[asked] == tokens[asked]
    assert hidden.float().mean().item() == pytest.approx(0.8, abs=0.01)
    # A tenth is any token, which one time in seven is the right one.
    assert same.float().mean().item() == pytest.approx(0.1 + 0.1 / 7, abs=0.01)


def test_a_short_row_asks_for_one_token():
    _, targets = mask(torch.zeros(5, 2, dtype=torch.long), 7, MASK, generator("short"))
    assert (targets != IGNORED).sum(dim=1).tolist() == [1] * 5


def test_nats_are_the_mean_over_what_is_asked_for_alone():
    logits = torch.zeros(2, 3, 4)
    logits[0, 1, 2] = math.log(5)
    targets = torch.tensor([[IGNORED, 2, 1], [3, IGNORED, IGNORED]])
    expected = [(-math.log(5 / 8) + math.log(4)) / 2, math.log(4)]
    assert nats(logits, targets).tolist() == pytest.approx(expected)
