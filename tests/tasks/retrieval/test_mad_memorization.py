"""mad-memorization: the same map in every sequence, asked one token after the key."""

import pytest
import torch
from task_support import assert_disjoint, draw, make

from cab.tasks.retrieval.mad_memorization import IGNORED, Map, values_of_keys


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("vocabulary", [3, 20, 255, 256])
def test_every_key_has_a_value_of_its_own_that_never_changes(vocabulary, published):
    params = Map(length=8, vocabulary=vocabulary, published=published)
    keys, values = (vocabulary - 1) // 2, values_of_keys(params)
    assert len(values) == len(set(values.tolist())) == keys
    assert keys <= values.min()
    assert values.max() < vocabulary - 1
    assert torch.equal(
        values, values_of_keys(Map(length=2, vocabulary=vocabulary, published=published))
    )


def test_a_label_is_the_value_of_the_key_before_it():
    params = make("mad-memorization").recipe.data
    value_of = values_of_keys(params).tolist()
    batch = draw("mad-memorization", 50)
    keys = set()
    for tokens, labels in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert set(tokens[1::2]) == {params.vocabulary - 1}
        assert set(labels[0::2]) == {IGNORED}
        assert labels[1::2] == [value_of[key] for key in tokens[0::2]]
        keys |= set(tokens[0::2])
    assert len(keys) > 0.9 * len(value_of)


def test_no_convolution_brings_the_key_to_the_place_that_asks():
    for profile in ("smoke", "quick", "standard", "full"):
        assert make("mad-memorization", profile).recipe.model.width.short_convolution == 0


def test_the_most_frequent_value_scores_its_share():
    task, batch = make("mad-memorization"), draw("mad-memorization", 40)
    (scores,) = task.shortcuts(batch).values()
    for labels, score in zip(batch["targets"][:, 1::2].tolist(), scores, strict=True):
        assert score == pytest.approx(max(map(labels.count, labels)) / len(labels))


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="even length"):
        Map(length=7, vocabulary=8)


def test_splits_share_no_example():
    assert_disjoint("mad-memorization")
