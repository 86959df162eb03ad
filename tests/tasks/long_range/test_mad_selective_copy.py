"""mad-selective-copy: the task of selective-copy in another size, by two generators."""

import pytest
import torch
from task_support import assert_disjoint, make

from cab.seeding import generator
from cab.tasks.long_range.selective_copy import IGNORED, generate


def test_it_draws_what_selective_copy_draws():
    task = make("mad-selective-copy")
    inputs, labels = generate(task.recipe.data, 20, generator("same"))
    batch = task.draw("train", 20, generator("same"))
    assert torch.equal(batch["inputs"], inputs)
    assert torch.equal(batch["targets"], labels)


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
