"""recall-seq: what is to be written follows from the memory, link by link."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, softmax_slots

from cab.seeding import generator
from cab.tasks.retrieval.recall_seq import LinkedList, generate


def test_each_target_is_the_value_of_the_key_before_it():
    task = make("recall-seq")
    params, batch = task.recipe.data, draw("recall-seq")
    memory = batch["memory"].unflatten(2, (2, params.symbols))
    assert torch.equal(memory.sum(dim=-1), torch.ones(len(memory), params.keys, 2))
    for pairs, first, targets in zip(
        memory.argmax(dim=-1).tolist(), batch["inputs"].tolist(), batch["targets"].tolist(),
        strict=True,
    ):  # fmt: skip
        links = dict(pairs)
        assert sorted(links) == sorted(links.values())
        assert len(links) == params.keys
        assert set(links) <= set(range(params.symbols))
        (key,), written = first, []
        for _ in range(params.written):
            key = links[key]
            written.append(key)
        assert targets == written


def test_no_link_closes_a_short_ring():
    drawn = generate(LinkedList(keys=9, written=4, symbols=20), 200, generator("rings"))
    for links, (key,) in zip(map(dict, drawn[0].tolist()), drawn[1].tolist(), strict=True):
        seen = set()
        while key not in seen:
            seen.add(key)
            key = links[key]
        assert len(seen) == 9


def test_the_memory_s_order_says_nothing_of_the_list_s():
    task, batch = make("recall-seq"), draw("recall-seq", 1000)
    (score,) = task.shortcuts(batch).values()
    assert score.mean() == pytest.approx(1 / (task.recipe.data.keys - 1), abs=0.005)
    assert task.card.chance == pytest.approx(1 / (task.recipe.data.keys - 1))
    values = batch["memory"].unflatten(2, (2, -1))[:, :, 1].argmax(dim=-1)
    shared = (values[3, : task.recipe.data.written] == batch["targets"][3]).float().mean()
    assert score[3] == shared


def test_the_decoder_is_scored_on_what_it_writes_by_itself():
    task, batch = make("recall-seq", "smoke"), draw("recall-seq", 4, profile="smoke")
    written = batch["targets"].clone()
    written[1, 0] = (written[1, 0] + 1) % task.recipe.data.symbols
    model = task.build(softmax_slots("cc"))

    def generate(memory, first, steps):
        assert torch.equal(memory, batch["memory"])
        assert torch.equal(first, batch["inputs"])
        assert steps == task.recipe.data.written
        return written

    model.generate = generate
    expected = [1, 1 - 1 / task.recipe.data.written, 1, 1]
    assert task.evaluate(model, batch)["accuracy"].tolist() == pytest.approx(expected)


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="written < keys"):
        LinkedList(keys=5, written=5, symbols=9)


def test_splits_share_no_example():
    assert_disjoint("recall-seq")
