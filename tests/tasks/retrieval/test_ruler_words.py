"""ruler-common-words, ruler-frequent-words: the answers are what counting the list gives."""

from collections import Counter

import pytest
from task_support import assert_disjoint, draw, make

from cab.seeding import generator
from cab.tasks.retrieval import ruler_common_words, ruler_frequent_words
from cab.tasks.retrieval.ruler_common_words import Counts
from cab.tasks.retrieval.ruler_frequent_words import ANSWERS, Zipf

NAMES = ["ruler-common-words", "ruler-frequent-words"]
COUNTS = [Counts(6, 5, 22, 3, 48), Counts(1, 2, 0, 1, 1), Counts(3, 7, 2, 2, 9)]
ZIPFS = [Zipf(128, 12, 64, 1.5), Zipf(64, 6, 8), Zipf(4095, 82, 1024)]


@pytest.mark.parametrize("params", COUNTS, ids=str)
def test_common_words_are_those_that_stand_in_the_list_more_often(params):
    inputs, answers = ruler_common_words.generate(params, 50, generator("common", params))
    assert inputs.shape == (50, params.length)
    for tokens, common in zip(inputs.tolist(), answers.tolist(), strict=True):
        assert tokens[-1] == 0
        counted = Counter(tokens[:-1])
        assert {word for word, count in counted.items() if count == params.often} == set(common)
        assert sorted(counted.values()) == [params.seldom] * params.others + [params.often] * len(
            set(common)
        )
        assert min(counted) >= 1
        assert max(counted) <= params.words


@pytest.mark.parametrize("params", ZIPFS, ids=str)
def test_frequent_words_are_the_three_after_the_filler(params):
    inputs, answers = ruler_frequent_words.generate(params, 30, generator("zipf", params))
    assert inputs.shape == (30, params.length)
    for tokens, frequent in zip(inputs.tolist(), answers.tolist(), strict=True):
        assert tokens[-1] == 0
        ranked = Counter(tokens[:-1]).most_common()
        assert ranked[0][0] == 1
        assert [word for word, _ in ranked[1 : 1 + ANSWERS]] == frequent
        counts = [count for _, count in ranked]
        assert len(set(counts[: ANSWERS + 2])) == ANSWERS + 2
        assert all(2 <= word < params.words + 2 for word, _ in ranked[1:])


@pytest.mark.parametrize("params", ZIPFS, ids=str)
def test_counts_fall_by_the_law(params):
    runs = params.runs
    assert sum(runs) == params.listed
    whole = sum(rank**-params.alpha for rank in range(1, params.ranks + 1))
    for rank, count in enumerate(runs[1:], 2):
        assert 0 <= params.listed * rank**-params.alpha / whole - count < 1


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_stands_anywhere_in_the_list(name):
    batch = draw(name, 2000)
    listed, answer = batch["inputs"][:, :-1], batch["answers"][:, :1]
    shares = (listed == answer).float().mean(dim=0)
    assert shares.min() > 0.6 * shares.mean()
    assert shares.max() < 1.4 * shares.mean()


@pytest.mark.parametrize("name", NAMES)
def test_the_last_words_answer_as_many_as_are_among_them(name):
    task, batch = make(name), draw(name, 100)
    (scores,) = task.shortcuts(batch).values()
    for tokens, answers, score in zip(
        batch["inputs"].tolist(), batch["answers"].tolist(), scores, strict=True
    ):
        last = set(tokens[-1 - len(answers) : -1])
        assert score == pytest.approx(len(last & set(answers)) / len(answers))


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_a_draw_among_the_words(name):
    task = make(name)
    answers = draw(name, 1)["answers"].shape[1]
    assert task.card.chance == pytest.approx(answers / task.recipe.data.words)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="more often"):
        Counts(common=2, often=3, others=4, seldom=3, words=9)
    with pytest.raises(ValueError, match="must be distinct: increase words"):
        Counts(common=2, often=3, others=8, seldom=1, words=9)
    with pytest.raises(ValueError, match="more ranks than answers"):
        Zipf(listed=64, ranks=4, words=8)
    with pytest.raises(ValueError, match="than the next word: increase the list"):
        Zipf(listed=12, ranks=8, words=8)


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_example(name):
    assert_disjoint(name)
