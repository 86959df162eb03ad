"""mad-selective-copy: selective copying with MAD's tokens, by two generators."""

import pytest
from task_support import assert_disjoint, make

from cab.seeding import generator
from cab.task import IGNORED
from cab.tasks.long_range.mad_selective_copy import MadScattered, generate


def test_the_copies_are_the_symbols_before_the_copy_token():
    params = MadScattered(length=12, tokens=5, vocabulary=4)
    inputs, labels = generate(params, 60, generator("copies"))
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        heard, said = row[: row.index(3)], row[row.index(3) + 1 :]
        assert said == [2] * 5
        assert heard[-1] != 2
        assert asked[-5:] == [token for token in heard if token != 2]
        assert set(asked[:-5]) == {IGNORED}


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="length > 2 tokens"):
        MadScattered(length=9, tokens=4, vocabulary=9)


@pytest.mark.parametrize("profile", ["standard", "full"])
def test_the_copies_are_the_symbols_before_the_copy_token_in_the_paper_s_size(profile):
    task = make("mad-selective-copy", profile)
    params = task.recipe.data
    assert (params.length, params.tokens, params.vocabulary) == (256, 16, 16)
    batch = task.draw("test", 30, generator(profile))
    for row, asked in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        assert len(row) == 256
        heard = row[: row.index(15)]
        assert heard[-1] != 14
        assert row[len(heard) + 1 :] == [14] * 16
        assert asked[-16:] == [token for token in heard if token != 14]
        assert set(asked[:-16]) == {IGNORED}


def test_it_has_one_length():
    assert make("mad-selective-copy").at_lengths() == {}


def test_splits_share_no_example():
    assert_disjoint("mad-selective-copy")
