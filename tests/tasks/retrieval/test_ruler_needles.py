"""ruler-niah-*: needles are hidden evenly, and the values asked for are those of the keys."""

import pytest
import torch
from task_support import Answers, assert_disjoint, draw, make, scored_by

from cab.seeding import generator
from cab.tasks.retrieval._haystack import (
    ASK,
    FIRST_FILLER,
    MARK,
    Needles,
    generate,
    hide,
)
from cab.tasks.retrieval._labelled import IGNORED
from cab.tasks.retrieval.ruler_niah_multivalue import Several

LABELLED = ["ruler-niah-single", "ruler-niah-multikey", "ruler-niah-multiquery"]
ALL = [*LABELLED, "ruler-niah-multivalue"]


def needles_of(params: Needles, tokens: list[int]) -> list[tuple[int, int]]:
    """The keys and values of a text, read with loops; the rest must be filler."""
    found, place = [], 0
    while place < len(tokens):
        if tokens[place] == MARK:
            key, value = tokens[place + 1 : place + 3]
            assert params.first_key <= key < params.first_value <= value < params.vocabulary
            found.append((key, value))
            place += 3
        else:
            assert FIRST_FILLER <= tokens[place] < params.first_key
            place += 1
    assert len(found) == params.needles
    return found


@pytest.mark.parametrize("profile", ["smoke", "quick"])
@pytest.mark.parametrize("name", LABELLED)
def test_a_label_is_the_value_of_the_needle_that_is_asked_for(name, profile):
    params, batch = make(name, profile).recipe.data, draw(name, 60, profile=profile)
    for tokens, labels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert len(tokens) == params.length
        body, questions = tokens[: -2 * params.queries], tokens[-2 * params.queries :]
        value_of = dict(needles_of(params, body))
        assert len(value_of) == len(set(value_of.values())) == params.needles
        assert set(questions[0::2]) == {ASK}
        asked = questions[1::2]
        assert len(set(asked)) == params.queries
        answers = labels[-2 * params.queries :]
        assert answers[1::2] == [value_of[key] for key in asked]
        assert set(labels) - set(answers[1::2]) == {IGNORED}


@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_the_answers_are_all_values_of_the_key_and_no_other(profile):
    name = "ruler-niah-multivalue"
    params, batch = make(name, profile).recipe.data, draw(name, 60, profile=profile)
    for tokens, answers in zip(batch["inputs"].tolist(), batch["answers"].tolist(), strict=True):
        needles = needles_of(params, tokens[:-2])
        assert tokens[-2] == ASK
        assert len({value for _, value in needles}) == params.needles
        assert {value for key, value in needles if key == tokens[-1]} == set(answers)
        assert len(answers) == params.answers
        assert len({key for key, _ in needles}) == params.needles - params.answers + 1


def test_needles_keep_their_order_and_lie_anywhere_alike():
    needles = torch.tensor([[[90, 91], [92, 93]]]).expand(30_000, -1, -1)
    text = hide(needles, 7, 5, generator("hide"))
    places = [tuple(row.index(mark) for mark in (90, 92)) for row in text.tolist()]
    possible = {(i, j) for i in range(4) for j in range(i + 2, 6)}
    assert set(places) == possible
    shares = [places.count(pair) / 30_000 for pair in sorted(possible)]
    assert shares == pytest.approx([1 / len(possible)] * len(possible), abs=0.01)
    assert all(row[i + 1] == row[i] + 1 for row, (i, _) in zip(text.tolist(), places, strict=True))
    filler = text[text < 90]
    assert set(filler.tolist()) == set(range(FIRST_FILLER, FIRST_FILLER + 5))


def test_every_needle_is_asked_for_alike():
    params = Needles(length=24, needles=4, keys=6, values=5, filler=3, queries=1)
    inputs, labels = generate(params, 8000, generator("asked"))
    places = [0] * 4
    for tokens, asked in zip(inputs.tolist(), labels[:, -1].tolist(), strict=True):
        places[[value for _, value in needles_of(params, tokens[:-2])].index(asked)] += 1
    assert [count / 8000 for count in places] == pytest.approx([0.25] * 4, abs=0.02)


@pytest.mark.parametrize("name", ["ruler-niah-multikey", "ruler-niah-multiquery"])
def test_the_last_value_answers_where_its_needle_is_asked_for(name):
    task, batch = make(name), draw(name, 300)
    params = task.recipe.data
    (scores,) = task.shortcuts(batch).values()
    for tokens, labels, score in zip(
        batch["inputs"].tolist(), batch["targets"].tolist(), scores, strict=True
    ):
        last = needles_of(params, tokens[: -2 * params.queries])[-1][1]
        assert score == pytest.approx(labels.count(last) / params.queries)
    assert scores.mean() == pytest.approx(1 / params.needles, abs=0.04)


def test_the_last_values_answer_as_many_as_are_among_them():
    task, batch = make("ruler-niah-multivalue"), draw("ruler-niah-multivalue", 300)
    params = task.recipe.data
    (scores,) = task.shortcuts(batch).values()
    for tokens, answers, score in zip(
        batch["inputs"].tolist(), batch["answers"].tolist(), scores, strict=True
    ):
        last = {value for _, value in needles_of(params, tokens[:-2])[-params.answers :]}
        assert score == pytest.approx(len(last & set(answers)) / params.answers)
    assert scores.mean() == pytest.approx(params.answers / params.needles, abs=0.04)


def test_a_single_needle_has_no_shortcut_since_the_only_value_is_the_answer():
    task, batch = make("ruler-niah-single"), draw("ruler-niah-single", 5)
    assert task.shortcuts(batch) == {}


def test_accuracy_is_the_share_of_the_set_among_the_likeliest_tokens():
    task, batch = make("ruler-niah-multivalue"), draw("ruler-niah-multivalue", 3)
    answers, params = batch["answers"], task.recipe.data
    logits = torch.zeros(3, params.length, params.vocabulary)
    order = torch.tensor([4.0, 3.0, 2.0, 1.0])
    logits[:, -1].scatter_(1, answers, order.expand(3, -1))
    logits[1, -1, FIRST_FILLER] = 9.0  # pushes out the least likely of the four
    logits[2, -1, answers[2]] = -1.0
    metrics = scored_by(task, batch, logits)
    assert metrics["accuracy"].tolist() == pytest.approx([1, 0.75, 0])
    assert metrics["exact"].tolist() == [1, 0, 0]


def test_the_loss_of_a_set_is_least_where_its_tokens_are_alike():
    task, batch = make("ruler-niah-multivalue"), draw("ruler-niah-multivalue", 6)
    answers, params = batch["answers"], task.recipe.data
    even = torch.full((6, params.length, params.vocabulary), -40.0)
    even[:, -1].scatter_(1, answers, 0.0)
    uneven = even.clone()
    uneven[:, -1].scatter_(1, answers[:, :1], 1.0)
    best = task.loss(Answers(even), batch)
    assert best == pytest.approx(torch.tensor(params.answers).log().item(), abs=1e-5)
    assert task.loss(Answers(uneven), batch) > best + 0.01


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"length": 13}, "enlarge the length"),
        ({"keys": 3}, "at most the keys"),
        ({"queries": 5, "length": 40}, "at least the queries"),
        ({"filler": 0}, "filler"),
    ],
)
def test_impossible_parameters_are_refused(settings, reason):
    good = {"length": 20, "needles": 4, "keys": 5, "values": 6, "filler": 2}
    with pytest.raises(ValueError, match=reason):
        Needles(**{**good, **settings})


def test_more_answers_than_needles_are_refused():
    with pytest.raises(ValueError, match="at most the needles"):
        Several(length=20, needles=4, keys=5, values=6, filler=2, answers=5)


@pytest.mark.parametrize("name", ALL)
def test_splits_share_no_example(name):
    assert_disjoint(name)
