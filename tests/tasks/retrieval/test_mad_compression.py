"""mad-compression: every symbol is asked, and the last token's state is all there is to answer."""

import pytest
import torch
from task_support import assert_disjoint, draw, make, softmax_slots

from cab.backbones.compressor import Compressor, CompressorConfig
from cab.backbones.slots import Width
from cab.tasks.retrieval.mad_compression import IGNORED, Symbols


def compressor(length: int = 9) -> Compressor:
    config = CompressorConfig(Width(dim=10, heads=2, layers=2), vocabulary=7, length=length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Compressor(config, softmax_slots("cs")).double().eval()


def test_the_labels_are_the_symbols_and_not_the_token_that_asks():
    params, batch = make("mad-compression").recipe.data, draw("mad-compression", 400)
    inputs, labels = batch["inputs"], batch["targets"]
    assert inputs.shape == (400, params.length)
    assert set(inputs[:, -1].tolist()) == {params.vocabulary - 1}
    assert set(labels[:, -1].tolist()) == {IGNORED}
    assert torch.equal(inputs[:, :-1], labels[:, :-1])
    counts = torch.bincount(inputs[:, :-1].flatten(), minlength=params.vocabulary - 1)
    assert (counts / counts.sum()).tolist() == pytest.approx(
        [1 / (params.vocabulary - 1)] * (params.vocabulary - 1), abs=0.01
    )


def test_all_answers_come_from_the_last_position_s_state():
    model, tokens = compressor(), torch.randint(7, (2, 9), generator=torch.Generator())
    states = []
    model.layers[-1].register_forward_hook(lambda module, args, output: states.append(output))
    with torch.no_grad():
        logits = model(tokens)
        last = states[0][:, -1]
        for place in range(9):
            alone = model.places(torch.zeros(1, 9, 10, dtype=torch.float64))[0, place]
            expected = model.decoder(last + alone)
            assert torch.allclose(logits[:, place], expected, atol=1e-12)


def test_every_token_can_change_the_answer_at_every_place():
    model, tokens = compressor(), torch.zeros(1, 9, dtype=torch.long)
    with torch.no_grad():
        before = model(tokens)
        for place in range(9):
            changed = tokens.clone()
            changed[0, place] = 3
            assert ((model(changed) - before).abs().amax(dim=2) > 1e-9).all()


def test_the_most_frequent_symbol_scores_its_share():
    task, batch = make("mad-compression"), draw("mad-compression", 40)
    (scores,) = task.shortcuts(batch).values()
    for labels, score in zip(batch["targets"][:, :-1].tolist(), scores, strict=True):
        assert score == pytest.approx(max(map(labels.count, labels)) / len(labels))


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="length >= 2"):
        Symbols(length=1, vocabulary=8)


def test_splits_share_no_example():
    assert_disjoint("mad-compression")
