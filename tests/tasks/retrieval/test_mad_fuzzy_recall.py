"""mad-fuzzy-recall: a word of key tokens asks for the word that followed it at first."""

import itertools

import pytest
from task_support import assert_disjoint, draw, make

from cab.seeding import generator
from cab.tasks.retrieval.mad_fuzzy_recall import IGNORED, Words, generate

SETTINGS = [
    Words(length=128, vocabulary=16),
    Words(length=61, vocabulary=12, key_size=2, value_size=3, pool=4),
    Words(length=23, vocabulary=14, key_size=3, value_size=1, pool=2),
]


def pairs_of(params: Words, tokens: list[int]) -> tuple[int, list[tuple[tuple, tuple]]]:
    """How many tokens pad, and the pairs of words after them, the last one whole."""
    symbols = params.vocabulary - 1
    half = symbols // 2
    start = next(place for place, token in enumerate(tokens) if token < symbols)
    runs = [
        tuple(run) for _, run in itertools.groupby(tokens[start:], key=lambda token: token < half)
    ]
    return start, list(itertools.pairwise(runs))[::2]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_a_label_is_the_next_token_of_a_value_whose_key_came_before(params, train):
    inputs, labels = generate(params, 60, generator("fuzzy", params), train=train)
    symbols = params.vocabulary - 1
    half = symbols // 2
    assert inputs.shape == labels.shape == (60, params.length)
    sizes = set()
    for read, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        assert asked[-1] != IGNORED  # the last value's last token is asked and not read
        tokens = [*read, asked[-1]]
        place, pairs = pairs_of(params, tokens)
        value_of: dict[tuple, tuple] = {}
        for key, value in pairs:
            assert max(key) < half <= min(value)
            assert max(value) < symbols
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
            sizes.add((len(key), len(value)))
            expected = value if key in value_of else (IGNORED,) * len(value)
            place += len(key)
            assert asked[place - 1 : place - 1 + len(value)] == list(expected)
            place += len(value)
            assert value_of.setdefault(key, value) == value
        assert place == len(tokens)
        assert pairs[-1][0] in {key for key, _ in pairs[:-1]}
        assert sum(label != IGNORED for label in asked) == sum(
            len(value)
            for place, (key, value) in enumerate(pairs)
            if key in {key for key, _ in pairs[:place]}
        )
    keys = range(1 if train else params.key_size, params.key_size + 1)
    assert sizes == set(itertools.product(keys, range(1, params.value_size + 1)))


def test_padding_is_shorter_than_a_pair_so_that_sequences_are_as_long_as_told():
    params = SETTINGS[0]
    inputs, _ = generate(params, 500, generator("padding"), train=True)
    padded = (inputs == params.vocabulary - 1).sum(dim=1)
    largest = params.key_size + params.value_size
    assert padded.max() < 2 * largest
    assert (inputs == params.vocabulary - 1).int().diff(dim=1).max() <= 0


def test_a_pool_lets_keys_come_again():
    few, all_words = (
        generate(Words(length=128, vocabulary=16, pool=pool), 300, generator("p"), train=False)
        for pool in (8, 0)
    )
    asked_few, asked_all = (
        (labels != IGNORED).sum(dim=1).float().mean() for _, labels in (few, all_words)
    )
    assert asked_all < 7
    assert asked_few > 20


def test_the_most_frequent_value_token_scores_its_share():
    task, batch = make("mad-fuzzy-recall"), draw("mad-fuzzy-recall", 30)
    symbols = task.recipe.data.vocabulary - 1
    (scores,) = task.shortcuts(batch).values()
    for tokens, asked, score in zip(
        batch["inputs"].tolist(), batch["targets"].tolist(), scores, strict=True
    ):
        read = [token for token in tokens if symbols // 2 <= token < symbols]
        often = min(set(read), key=lambda token: (-read.count(token), token))
        labels = [label for label in asked if label != IGNORED]
        assert score == pytest.approx(labels.count(often) / len(labels))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"length": 10, "vocabulary": 16}, "two pairs"),
        ({"length": 64, "vocabulary": 6}, "enlarge the vocabulary"),
        ({"length": 64, "vocabulary": 16, "pool": 3, "published": True}, "pool must be 0"),
    ],
)
def test_impossible_parameters_are_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        Words(**settings)


def test_splits_share_no_example():
    assert_disjoint("mad-fuzzy-recall")
