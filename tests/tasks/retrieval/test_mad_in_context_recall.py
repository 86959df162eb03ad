"""mad-in-context-recall, mad-noisy-recall: a label is the value that a key had before."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.retrieval.mad_in_context_recall import IGNORED, Pairs, generate

NAMES = ["mad-in-context-recall", "mad-noisy-recall"]
SETTINGS = [
    Pairs(length=128, vocabulary=16),
    Pairs(length=14, vocabulary=9),
    Pairs(length=128, vocabulary=32, noise=16, fraction=0.2),
    Pairs(length=10, vocabulary=9, noise=3, fraction=0.9),
]


@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_a_label_is_the_value_that_the_key_came_with_before(params):
    inputs, labels = generate(params, 80, generator("recall", params))
    half = params.symbols // 2
    assert inputs.shape == labels.shape == (80, params.length - 1)
    for tokens, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        value_of: dict[int, int] = {}
        for place in range(0, params.length - 2, 2):
            key, value = tokens[place : place + 2]
            assert asked[place + 1] == IGNORED
            if key >= params.symbols:
                assert params.symbols <= value < params.vocabulary
                assert asked[place] == IGNORED
                continue
            assert key < half <= value < params.symbols
            assert asked[place] == value_of.get(key, IGNORED)
            assert value_of.setdefault(key, value) == value
        assert asked[-1] == value_of[tokens[-1]]


@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_the_share_of_noise_is_as_told(params):
    inputs, _ = generate(params, 4000, generator("noise", params))
    noisy = (inputs[:, : params.length - 2 : 2] >= params.symbols).float()
    pairs = params.length // 2 - 1
    assert noisy.mean() == pytest.approx(params.fraction * (1 - 1 / pairs), abs=0.01)
    assert (noisy.sum(dim=1) < pairs).all()
    assert noisy.mean(dim=0) == pytest.approx([noisy.mean().item()] * pairs, abs=0.04)


def test_keys_and_values_are_uniform_and_so_is_the_last_key_among_those_seen():
    params = Pairs(length=16, vocabulary=8)
    inputs, labels = generate(params, 6000, generator("uniform"))
    assert torch.bincount(inputs[:, 0], minlength=4) / 6000 == pytest.approx([0.25] * 4, abs=0.02)
    values = torch.bincount(labels[:, -1], minlength=8) / 6000
    assert values.tolist() == pytest.approx([0.0] * 4 + [0.25] * 4, abs=0.02)
    two = [row for row in inputs.tolist() if len(set(row[0:14:2])) == 2]
    rare = [min(set(row[0:14:2]), key=row[0:14:2].count) for row in two]
    share = sum(row[-1] == key for row, key in zip(two, rare, strict=True)) / len(two)
    assert len(two) > 50
    assert share == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_the_shortcuts_are_what_loops_over_the_values_read_give(name):
    task, batch = make(name), draw(name, 30)
    params, scores = task.recipe.data, task.shortcuts(batch)
    half = params.symbols // 2
    for row, (tokens, asked) in enumerate(
        zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True)
    ):
        read: list[int] = []
        last = often = count = 0
        for token, label in zip(tokens, asked, strict=True):
            if half <= token < params.symbols:
                read.append(token)
            if label != IGNORED:
                count += 1
                last += label == read[-1]
                often += label == min(set(read), key=lambda value: (-read.count(value), value))
        assert scores["last value"][row] == pytest.approx(last / count)
        assert scores["most frequent so far"][row] == pytest.approx(often / count)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_the_share_of_labels_and_exact_all_of_them(name):
    task, batch = make(name), draw(name, 3)
    labels = batch["targets"]
    right = torch.nn.functional.one_hot(labels.clamp(min=0), task.recipe.data.vocabulary).float()
    place = (labels[1] != IGNORED).nonzero()[0, 0]
    right[1, place] = right[1, place].roll(1)
    asked = (labels[1] != IGNORED).sum().item()
    metrics = scored_by(task, batch, right)
    assert metrics["accuracy"].tolist() == pytest.approx([1, 1 - 1 / asked, 1])
    assert metrics["exact"].tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_one_of_the_values(name):
    task = make(name)
    assert task.card.chance == pytest.approx(1 / (task.recipe.data.symbols // 2))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"length": 15, "vocabulary": 8}, "even length"),
        ({"length": 16, "vocabulary": 8, "noise": 5, "fraction": 0.2}, "vocabulary - noise"),
        ({"length": 16, "vocabulary": 8, "fraction": 0.2}, "where there is noise"),
        ({"length": 16, "vocabulary": 8, "noise": 2, "fraction": 1.0}, "below 1"),
    ],
)
def test_impossible_parameters_are_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        Pairs(**settings)


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_example(name):
    assert_disjoint(name)
