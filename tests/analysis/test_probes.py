"""Probes give what their formulas give by hand, on true maps of trained attentions."""

import math
from pathlib import Path

import networkx as nx
import pytest
import torch
from cli_support import cab_here, cells_of
from support import VARIANTS, build, draw, right_padding
from torch import nn

from cab.analysis import probes
from cab.analysis.mixing import mixings
from cab.analysis.probing import evaluations, plot, probe
from cab.records.store import RecordStore
from cab.registry import discover_tasks
from cab.running.trained import TrainedCell, build_model
from cab.taxonomy import Pattern

TASKS = discover_tasks()
HALF, EVEN = [0.5, 0.5, 0.0], [1 / 3] * 3
MAP = torch.tensor([[[[1.0, 0.0, 0.0], HALF, EVEN]]], dtype=torch.float64)


def test_entropy_by_hand():
    assert probes.entropy(MAP).tolist() == pytest.approx([(0 + math.log(2) + math.log(3)) / 3])


def test_sink_mass_by_hand_leaves_the_first_query_out():
    assert probes.sink_mass(MAP).tolist() == pytest.approx([(1 / 2 + 1 / 3) / 2])
    assert probes.sink_mass(MAP[:, :, :1]).tolist() == [1.0]


def test_effective_rank_by_hand():
    assert probes.effective_rank(torch.eye(4)[None, None]).tolist() == pytest.approx([4])
    assert probes.effective_rank(torch.full((1, 1, 4, 4), 0.25)).tolist() == pytest.approx([1])
    two = torch.diag(torch.tensor([3.0, 1.0, 0.0]))[None, None]
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert probes.effective_rank(two).tolist() == pytest.approx([expected])


def test_low_pass_by_hand():
    assert probes.low_pass(torch.full((1, 1, 5, 5), 0.2)).tolist() == pytest.approx([0], abs=1e-6)
    # Centred, the identity of two tokens is [[1, -1], [-1, 1]] / 2, whose largest value is 1.
    assert probes.low_pass(torch.eye(2)[None, None]).tolist() == pytest.approx([1])


def test_distance_by_hand():
    assert probes.distance(MAP).tolist() == pytest.approx([(0 + 0.5 + (2 + 1 + 0) / 3) / 3])


def test_far_by_hand():
    maps = torch.eye(16, dtype=torch.float64).repeat(1, 2, 1, 1)
    assert probes.far(maps).tolist() == [0, 0]
    maps[0, 0] = torch.eye(16).roll(-1, dims=1).tril()  # token t - 1 is near
    maps[0, 1, 3:] = 0
    maps[0, 1, 3:, 1] = 1  # token 1 is far from the queries 3 and later, all that are asked
    assert probes.far(maps).tolist() == [0, 1]
    maps[0, 1, :, 0], maps[0, 1, :, 1] = 0.6, 0.4  # the first token does not count
    assert probes.far(maps)[1] == 0
    maps[0, 1, 10:, 0], maps[0, 1, 10:, 1] = 0.5, 0.5
    assert probes.far(maps)[1] == pytest.approx(6 / 13)
    maps[0, 0] = torch.eye(16).roll(1, dims=1)  # token t + 1, and of the last the first
    assert probes.far(maps)[0] == 0
    maps[0, 0] = torch.eye(16).roll(2, dims=1)  # token t + 2 is far, too; of 14 the first
    assert probes.far(maps)[0] == pytest.approx(12 / 13)
    assert probes.far(torch.ones(1, 1, 1, 1)).tolist() == [0]
    maps[0, 1, 3:10] = 0  # queries that see nothing are left out
    assert probes.far(maps)[1] == 1


def test_rows_that_see_nothing_are_left_out():
    empty = MAP.clone()
    empty[:, :, 0] = 0
    assert probes.entropy(empty).tolist() == pytest.approx([(math.log(2) + math.log(3)) / 2])
    assert probes.distance(torch.zeros(1, 2, 3, 3)).tolist() == [0, 0]


def test_rollout_and_influence_by_hand():
    one = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]])
    # Mean of the heads, half of it and half of the identity: rows (1, 0) and (1/4, 3/4).
    whole = probes.rollout([one, one])
    torch.testing.assert_close(whole, torch.tensor([[[1, 0], [0.25 + 0.75 * 0.25, 0.5625]]]))
    assert probes.future_influence(whole).tolist() == pytest.approx([0.4375, 0])
    longer = torch.tensor([[[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.3, 0.5]]])
    assert probes.future_influence(longer).tolist() == pytest.approx([0.35, 0.3, 0])


def attention_maps(layers: int, heads: int, tokens: int) -> list[torch.Tensor]:
    draws = draw(layers, 1, heads, tokens, tokens, seed="flow").double()
    causal = torch.ones(tokens, tokens).triu(1).bool()
    return list(draws.masked_fill(causal, -torch.inf).softmax(dim=-1))


def test_the_flow_through_one_layer_is_its_row_and_through_two_the_sum_of_the_narrower_pipes():
    first, second = attention_maps(2, 3, 7)
    below, above = (0.5 * maps[0].mean(dim=0) + 0.5 * torch.eye(7) for maps in (first, second))
    torch.testing.assert_close(probes.flow([first], 4)[0], below[4])
    pipes = torch.minimum(below, above[5][:, None])  # (j, s): from s to j, and from j to token 5
    torch.testing.assert_close(probes.flow([first, second], 5)[0], pipes.sum(dim=0))


def test_the_flow_through_three_layers_is_that_of_another_solver():
    maps = attention_maps(3, 2, 6)
    pipes = nx.DiGraph()
    for layer, one in enumerate(maps):
        capacity = 0.5 * one[0].mean(dim=0) + 0.5 * torch.eye(6)
        pipes.add_edges_from(
            ((layer, s), (layer + 1, t), {"capacity": capacity[t, s].item()})
            for t in range(6)
            for s in range(6)
        )
    wanted = [nx.maximum_flow_value(pipes, (0, s), (3, 4)) for s in range(6)]
    assert probes.flow(maps, 4)[0].tolist() == pytest.approx(wanted, abs=1e-7)
    assert wanted[5] == 0


def test_retrieval_by_hand():
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 2, 0] = maps[0, 1, 2, 1] = 1
    inputs, targets = torch.tensor([[7, 8, 9]]), torch.tensor([[-100, -100, 7]])
    assert probes.retrieval(maps, inputs, targets, targets >= 0).tolist() == [1, 0]


def test_contextual_by_hand():
    inputs = torch.tensor([[5, 7, 5, 9]])
    targets = torch.tensor([[-100, -100, 5, 7]])
    maps = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    maps[0, 0, 2], maps[0, 0, 3] = torch.tensor([[0.25, 0.5, 0.25, 0], [0.125, 0.25, 0.5, 0.125]])
    maps[0, 1, :2, 0] = 1  # these are not asked
    expected = [((0.25 + 0.25) + 0.25) / 2, 0]
    assert probes.contextual(maps, inputs, targets, targets >= 0).tolist() == pytest.approx(
        expected
    )


def test_similarity_by_hand():
    x = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]])
    assert probes.similarity(x) == pytest.approx(1 / 3)
    assert probes.similarity(torch.ones(2, 4, 3)) == pytest.approx(1)
    assert probes.similarity(torch.ones(2, 1, 3)) == 1


class Holder(nn.Module):
    """A model of one attention."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention


def map_of(name: str, pattern: str = "cs", padded: bool = False, length: int = 13):
    attention = build(name, pattern)
    x = draw(2, length, 15, seed="probed")
    context = draw(2, 9, 15, seed="context") if attention.pattern.cross else None
    keys = length if context is None else 9
    mask = right_padding([keys, 4], keys) if padded else None
    holder = Holder(attention)
    (found,) = mixings(
        holder, Pattern(pattern), lambda: holder.attention(x, context, key_padding_mask=mask)
    )
    assert "attend" not in vars(attention), "the listener was left behind"
    return found, attention, (x, context, mask)


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc", "cc"])
@pytest.mark.parametrize("padded", [False, True])
def test_the_weights_of_softmax_are_its_softmax(pattern, padded):
    found, attention, (x, context, mask) = map_of("softmax", pattern, padded)
    source = x if context is None else context
    q, k = (
        attention.split_heads(f(y)) for f, y in ((attention.query, x), (attention.key, source))
    )
    scores = q @ k.mT / attention.head_width**0.5
    if pattern == "cs":
        future = torch.ones(13, 13, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None], -torch.inf)
    assert found.kind == "weights"
    expected = scores.softmax(dim=-1)
    if padded and pattern in ("ns", "cs"):
        expected = expected.masked_fill(mask[:, None, :, None], 0)
    torch.testing.assert_close(found.map, expected, rtol=1e-9, atol=1e-12)


def test_the_weights_of_uniform_mixing_are_uniform():
    found, _, _ = map_of("mean")
    expected = torch.ones(13, 13, dtype=torch.float64).tril()
    expected /= expected.sum(dim=1, keepdim=True)
    if found.kind == "weights":
        torch.testing.assert_close(found.map[0, 0], expected)
    else:
        torch.testing.assert_close(found.map[0, 0], expected, rtol=1e-6, atol=1e-9)


def test_weights_of_linear_and_window_keep_to_what_they_see():
    linear, _, _ = map_of("linear")
    assert linear.kind == "weights"
    assert torch.equal(linear.map, linear.map.tril())
    torch.testing.assert_close(linear.map.sum(dim=-1), torch.ones(2, 3, 13).double())
    window, _, _ = map_of("window", length=40)
    far = torch.ones(40, 40, dtype=torch.bool).tril(-16)
    assert window.kind == "weights"
    assert not window.map[:, :, far].any()


def test_what_has_no_weights_gets_its_jacobian_which_is_that_of_autograd():
    names = [n for n in VARIANTS.names() if Pattern.CS in VARIANTS.card(n).patterns]
    for name in names:
        if VARIANTS.card(name).needs_grid or VARIANTS.card(name).family == "control":
            continue
        found, attention, (x, _, _) = map_of(name, length=6)
        if found.kind == "Jacobian":
            break
    else:
        pytest.fail("every variant has weights")
    jacobian = torch.autograd.functional.jacobian(lambda one: attention(one), x[:1])[0, :, :, 0]
    norms = jacobian.square().sum(dim=(1, 3)).sqrt()
    expected = norms / norms.sum(dim=-1, keepdim=True)
    assert found.map.shape == (1, 1, 6, 6)
    assert torch.equal(found.map[0, 0] > 0, expected > 1e-12)
    assert (found.map[0, 0] - expected).abs().max() < 0.35  # of 8 random directions


def trained(variant: str, task: str = "mqar", **options: str) -> TrainedCell:
    (cell,) = cells_of([variant], tasks=(task,), options=options)
    made = TASKS.load(task)(cell.recipe)
    return TrainedCell(cell, made, build_model(cell, made).eval())


def test_a_head_that_the_output_ignores_has_no_importance_and_one_it_needs_has():
    cell = trained("softmax", "regress", **{"model.heads": "2", "model.layers": "1"})
    found = probe(cell, 4)
    (name,) = found.importance
    attention = dict(cell.model.named_modules())[name]
    with torch.no_grad():
        attention.output.weight[:, : attention.head_width] = 0
    again = probe(cell, 4).importance[name]
    assert again[0] == 0
    assert again[1] != 0


@pytest.mark.parametrize("task", ["mqar", "digits", "regress", "recall-seq"])
def test_every_probe_that_applies_is_there_and_the_others_are_named(task, tmp_path: Path):
    cell = trained("softmax", task)
    found = probe(cell, 5)
    cross = cell.cell.task.pattern.cross
    assert {"entropy", "sink_mass", "effective_rank"} <= found.heads.keys()
    assert ("distance" in found.heads) == (not cross)
    assert (found.rollout is None) == cross
    assert bool(found.flow) == (not cross)
    for name in ("retrieval", "contextual"):
        assert (name in found.heads) == (task == "mqar")
    assert bool(found.left_out) == (task != "mqar")
    assert (len(found.collapse) == 5) == (task == "mqar")
    names = {one.metric for one in evaluations(cell, found)}
    assert "entropy" in names
    files = plot(found, tmp_path)
    assert all(path.read_text().startswith("<?xml") for path in files)
    assert len(files) == (2 if cross else 3)


def test_a_flow_through_too_many_tokens_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr("cab.analysis.probing.LONGEST_FLOW", 10)
    found = probe(trained("softmax"), 2)
    assert found.flow == []
    assert found.rollout is not None
    assert "flow is skipped: the sequence has more than 10 tokens." in found.left_out


@pytest.mark.slow
def test_the_command_probes_and_stores(tmp_path: Path):
    arguments = ("probe", "--variant", "linear", "--task", "mqar", "--profile", "smoke")
    arguments += ("--unchecked", "--store", tmp_path)
    first = cab_here(*arguments, "--json", "--plots", tmp_path / "plots")
    assert first.code == 0, first.err
    assert set(first.document["maps"].values()) == {"weights"}
    assert len(first.document["plots"]) == 3
    (record,) = RecordStore(tmp_path).load()[0]
    assert {one.harness for one in record.evaluations} == {"cab probe"}
    shown = cab_here(*arguments)
    assert shown.code == 0, shown.err
    assert "entropy" in shown.out
    assert len(RecordStore(tmp_path).load()[0][0].evaluations) == len(record.evaluations)
