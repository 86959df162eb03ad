"""The paper's generators, number for number: hashes of what its own code draws from seed 12345."""

import hashlib
from functools import partial

import numpy as np
import pytest
import torch
from task_support import TASKS, make

from cab.seeding import generator
from cab.tasks.retrieval import _mad

# sha256, first 16 digits, of 64 instances: all inputs, then all targets, as 64-bit integers.
RECALL = {"length": 128, "vocabulary": 16, "noise": 0, "fraction": 0.0}
NOISY = {"length": 128, "vocabulary": 32, "noise": 16, "fraction": 0.2}
FUZZY = {"length": 128, "vocabulary": 16, "key_size": 3, "value_size": 3}
GOLDEN = {
    "recall, test": (_mad.recall, RECALL | {"train": False}, "266100a57de49b07"),
    "recall, train": (_mad.recall, RECALL | {"train": True}, "116dfc0de38ffb89"),
    "noisy, test": (_mad.recall, NOISY | {"train": False}, "3b2aaaaebb99521d"),
    "noisy, train": (_mad.recall, NOISY | {"train": True}, "e35862cb5241375c"),
    "fuzzy, test": (_mad.fuzzy_recall, FUZZY | {"train": False}, "cc444451f4a418df"),
    "fuzzy, train": (_mad.fuzzy_recall, FUZZY | {"train": True}, "3b93103d857f4926"),
    "compression": (_mad.compression, {"length": 32, "vocabulary": 16}, "916908b3b61321e9"),
}


def hash_of(instance) -> str:
    rng = np.random.default_rng(12345)
    drawn = [instance(rng) for _ in range(64)]
    inputs, targets = (np.stack(part) for part in zip(*drawn, strict=True))
    return hashlib.sha256(inputs.tobytes() + targets.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(("instance", "settings", "expected"), GOLDEN.values(), ids=list(GOLDEN))
def test_64_instances_are_the_published_ones(instance, settings, expected):
    assert hash_of(partial(instance, **settings)) == expected


def test_memorization_asks_for_the_published_map():
    value_of = _mad.memory_map(256)
    assert len(value_of) == 127
    assert list(value_of.items())[:3] == [(120, 175), (0, 239), (101, 249)]
    instance = partial(_mad.memorization, length=32, vocabulary=256, value_of=value_of)
    assert hash_of(instance) == "cf6209ca5eab43f3"


def test_selective_copying_takes_its_blanks_from_a_second_generator():
    instance = partial(
        _mad.selective_copy,
        blanks_rng=np.random.RandomState(0),
        length=256,
        tokens=16,
        vocabulary=16,
    )
    assert hash_of(instance) == "b65e802cf62ca1c3"


@pytest.mark.parametrize("name", [name for name in TASKS.names() if name.startswith("mad-")])
def test_the_full_profile_draws_the_published_instances_in_the_shape_of_the_standard_one(name):
    published, own = make(name, "full"), make(name, "standard")
    assert published.recipe.data.published
    assert not own.recipe.data.published
    before, state = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, again = (published.draw("test", 5, generator("published", name)) for _ in range(2))
    shapes = {key: value.shape for key, value in own.draw("test", 5, generator("own")).items()}
    assert {key: value.shape for key, value in first.items()} == shapes
    assert all(first[key].equal(again[key]) for key in first)
    assert not first["inputs"].equal(published.draw("test", 5, generator("other"))["inputs"])
    assert (np.random.get_state()[1] == before).all()
    assert torch.get_rng_state().equal(state)
