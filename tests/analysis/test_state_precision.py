"""A rounded decode state gives the errors and the loss that plain loops give."""

import json
import math
from pathlib import Path

import pytest
import torch
from cli_support import cab_here, cells_of, make_record
from scipy.linalg import hadamard
from support import VARIANTS, draw
from torch import Tensor, nn

from cab.analysis.rounding import (
    STATE_DTYPES,
    quantise,
    quantise_range,
    rotate,
    round_state,
    stored_bytes,
)
from cab.analysis.state_precision import (
    Stepped,
    evaluations,
    measure,
    plot,
    relative_errors,
    squares,
)
from cab.attention import Attention, build_attention
from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.slots import Slots, Width
from cab.backbones.stepping import DecoderState, LayerState, start, step
from cab.decoding import KeyValueCache
from cab.errors import Unsupported
from cab.records.store import RecordStore
from cab.registry import discover_tasks
from cab.running.trained import TrainedCell, build_model
from cab.scores.normalise import Scale
from cab.seeding import generator
from cab.taxonomy import Pattern
from cab.tracking.runs import metrics

TASKS = discover_tasks()
VOCABULARY = 11


def decoder(factory, **width: int) -> Decoder:
    sizes = {"dim": 12, "heads": 3, "layers": 2, "short_convolution": 3, **width}
    config = DecoderConfig(Width(**sizes), VOCABULARY, length=40, positions=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Decoder(config, Slots(Pattern.CS, factory, factory)).eval()


def of(name: str, **geometry) -> Attention:
    return build_attention(VARIANTS.load(name), {}, **geometry)


def tokens(length: int = 23) -> Tensor:
    return torch.randint(VOCABULARY, (4, length), generator=generator("rounded"))


@torch.no_grad()
@pytest.mark.parametrize("name", ["softmax", "linear", "gla", "window", "mean", "deltanet"])
def test_a_state_in_its_own_type_changes_no_bit_and_others_do(name: str) -> None:
    model = decoder(lambda **geometry: of(name, **geometry))
    exact, same = Stepped(model)(tokens()), Stepped(model, "float32")(tokens())
    assert torch.equal(exact, same)
    torch.testing.assert_close(exact, model(tokens()), rtol=1e-4, atol=1e-5)
    for dtype in ("bfloat16", "float16", "int8"):
        moved = (Stepped(model, dtype)(tokens()) - exact).norm() / exact.norm()
        assert 1e-6 < moved < 0.2, dtype


class Sum(Attention):
    """A mixer whose state is the sum of what it has read, which it answers."""

    card = VARIANTS.card("mean")

    def initial_state(self, batch, context=None, *, key_padding_mask=None):
        return torch.zeros(batch, self.dim), 0

    def step(self, x, state):
        total, count = state
        return total + x, (total + x, count + 1)


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_error_by_position_is_that_of_plain_loops(dtype: str) -> None:
    model = decoder(lambda **geometry: Sum(None, **geometry), layers=1, short_convolution=0)
    layer, read = model.layers[0], tokens(8)
    logits = {}
    for kind in (torch.float32, getattr(torch, dtype)):
        total, outputs = torch.zeros(4, 12), []
        for t in range(8):
            x = model.embedding.weight[read[:, t]]
            total = total.to(kind).float() + layer.self_norm(x)
            x = x + total
            x = x + layer.feed_forward(x)
            outputs.append(model.head(model.norm(x)))
        logits[kind] = outputs
    wanted = []
    for first in range(0, 8, 2):
        off = of_ = 0.0
        for t in (first, first + 1):
            right, got = logits[torch.float32][t], logits[getattr(torch, dtype)][t]
            off += sum(
                (float(a) - float(b)) ** 2
                for a, b in zip(got.flatten(), right.flatten(), strict=True)
            )
            of_ += sum(float(b) ** 2 for b in right.flatten())
        wanted.append(math.sqrt(off / of_))
    sums = squares(Stepped(model, dtype)(read), Stepped(model)(read))
    places, found = relative_errors(sums, 4)
    assert places == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert found == pytest.approx(wanted, rel=1e-3)
    # The first position reads nothing yet, so only the second of its part is off.
    assert relative_errors(sums, 8)[1][0] == 0
    assert all(found)


def test_parts_of_a_sequence_that_does_not_divide_evenly() -> None:
    sums = torch.tensor([[0.0, 1.0, 4.0, 0.0, 9.0], [1.0, 3.0, 4.0, 0.0, 1.0]]).double()
    assert relative_errors(sums, 2) == (((0, 1), (2, 4)), pytest.approx((0.5, (13 / 5) ** 0.5)))
    places, found = relative_errors(sums, 9)
    assert len(places) == 5
    assert found == pytest.approx((0, 3**-0.5, 1, 0, 3))


def brute_force(x: Tensor) -> Tensor:
    """Each row's nearest multiple of a 127th of its largest element."""
    found = x.clone()
    for row in found.view(-1, x.shape[-1]):
        largest = max(abs(float(value)) for value in row)
        for place, value in enumerate(row.tolist()):
            codes = [largest / 127 * code for code in range(-127, 128)]
            row[place] = min(codes, key=lambda code: abs(code - value))
    return found


def test_int8_is_the_nearest_multiple_of_a_127th_of_the_rows_largest() -> None:
    x = draw(3, 2, 5, 7, seed="rows") * torch.logspace(-6, 6, 5)[:, None]
    x[0, 0, 1], x[1, 1, 2, 3] = 0.0, -50.0
    torch.testing.assert_close(quantise(x), brute_force(x), rtol=1e-6, atol=1e-12)
    again = quantise(quantise(x))
    torch.testing.assert_close(again, quantise(x), rtol=1e-6, atol=1e-12)
    assert (quantise(x) - x).abs().amax() <= x.abs().amax() / 127 / 2 * 1.001


def test_int8_of_special_values() -> None:
    x = torch.tensor([[1.0, -math.inf, 0.3], [math.nan, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = quantise(x)
    assert found[0].tolist() == pytest.approx([1.0, -math.inf, 38 / 127])
    assert found[1, 0].isnan()
    assert found[1:, 1:].eq(0).all()
    assert found[2, 0] == 0
    assert quantise(torch.tensor(3.0)) == pytest.approx(3.0)
    assert quantise(torch.zeros(2, 0)).shape == (2, 0)


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_the_nearest_of_evenly_spaced_numbers(bits: int) -> None:
    x = draw(3, 2, 5, 7, seed="rows") * torch.logspace(-6, 6, 5)[:, None] + 0.3
    found = quantise_range(x, bits)
    for given, got in zip(x.flatten(0, 2), found.flatten(0, 2), strict=True):
        stored = torch.linspace(*given.aminmax(), 2**bits, dtype=x.dtype)
        nearest = (given[:, None] - stored).abs().amin(dim=1)
        spread = float(given.max() - given.min())
        torch.testing.assert_close((got - given).abs(), nearest, rtol=1e-4, atol=1e-6 * spread)
        assert len(got.unique()) <= 2**bits
    again = quantise_range(found, bits)
    torch.testing.assert_close(again, found, rtol=1e-5, atol=1e-6)


def test_few_bits_of_special_values() -> None:
    x = torch.tensor([[1.0, -math.inf, 0.3], [math.nan, 0.0, 0.0], [2.0, 2.0, 2.0]])
    found = quantise_range(x, 2)
    assert found[0].tolist() == pytest.approx([1.0, -math.inf, 0.3])
    assert found[1, 0].isnan()
    assert found[1:, 1:].tolist() == [[0, 0], [2, 2]]
    huge = torch.tensor([3e38, -3e38, 2.5e38])
    assert quantise_range(huge, 2).tolist() == pytest.approx([3e38, -3e38, 3e38], rel=1e-5)
    assert quantise_range(torch.full((2,), math.nan), 2).isnan().all()
    assert quantise_range(torch.tensor(3.0), 2) == 3
    assert quantise_range(torch.zeros(2, 0), 2).shape == (2, 0)


@pytest.mark.parametrize(("length", "block"), [(1, 1), (2, 2), (8, 8), (12, 4), (7, 1)])
def test_the_rotation_is_the_walsh_hadamard_transform_of_blocks(length: int, block: int) -> None:
    matrix = torch.from_numpy(hadamard(block) / block**0.5)
    whole = torch.block_diag(*[matrix] * (length // block))
    x = draw(3, 5, length, seed="rows", dtype=torch.float64)
    torch.testing.assert_close(rotate(x), x @ whole)
    torch.testing.assert_close(rotate(rotate(x)), x)
    assert rotate(torch.tensor(3.0)) == 3


def test_the_rotation_saves_rows_with_one_large_element() -> None:
    x = draw(50, 16, seed="rows")
    x[:, 3] = 6
    plain = quantise_range(x, 2)
    (rotated,) = round_state([x], "int2-rotated")
    assert (rotated - x).norm() < 0.8 * (plain - x).norm()


def test_every_floating_tensor_of_a_nested_state_is_rounded_and_nothing_else() -> None:
    k, v = draw(1, 2, 3, 4, seed="k"), draw(1, 2, 3, 4, seed="v")
    tail, mask = draw(1, 2, 8, seed="tail"), torch.tensor([[True, False, False]])
    mixer = {"cache": KeyValueCache(k, v, mask), "count": torch.tensor(7), "scale": 0.1}
    wave = torch.complex(k, v)
    state = DecoderState(5, (LayerState(tail, mixer), LayerState(None, [wave])))
    place, (first, second) = round_state(state, "bfloat16")
    assert (place, second.tail, first.mixer["scale"]) == (5, None, 0.1)
    for got, given in ((first.tail, tail), (first.mixer["cache"].k, k)):
        assert torch.equal(got, given.bfloat16().to(given.dtype))
        assert not torch.equal(got, given)
    assert torch.equal(first.mixer["cache"].key_padding_mask, mask)
    assert torch.equal(first.mixer["count"], torch.tensor(7))
    assert torch.equal(second.mixer[0].imag, v.bfloat16().to(v.dtype))
    (waves,) = round_state([wave], "int8")
    assert torch.equal(waves.real, quantise(k))


def test_the_bytes_of_a_state_are_those_of_its_codes_and_of_what_each_row_keeps() -> None:
    cache, mask = draw(2, 3, 5, 8, seed="cache"), torch.ones(2, 5, dtype=torch.bool)
    state = DecoderState(5, (LayerState(None, {"cache": cache, "mask": mask, "count": 3}),))
    elements, rows, masked = 240, 30, 10
    expected = {
        "float32": 4 * elements,
        "bfloat16": 2 * elements,
        "float16": 2 * elements,
        "int8": elements + 8 * rows,  # the tensors are in float64
        "int4": elements / 2 + 16 * rows,
        "int2": elements / 4 + 16 * rows,
        "int2-rotated": elements / 4 + 16 * rows,
    }
    assert {dtype: stored_bytes(state, dtype) - masked for dtype in STATE_DTYPES} == expected
    assert stored_bytes([torch.complex(cache, cache)], "int8") == 2 * expected["int8"]
    assert stored_bytes([torch.empty(0, 4), torch.tensor(1.0)], "float16") == 2


def test_the_size_of_a_found_state_is_that_of_its_tensors() -> None:
    cell = untrained("softmax")
    found = measure(cell, ("int8", "bfloat16"), examples=3)
    length = cell.task.at_levels()[-1].examples("test")["inputs"].shape[1]
    width = cell.cell.recipe.model.width
    tails = width.layers * (width.short_convolution - 1) * width.dim
    caches = width.layers * 2 * length * width.dim
    masks = width.layers * length
    assert found.size == 4 * (caches + tails) + masks
    assert found.rounded["bfloat16"].size == 2 * (caches + tails) + masks
    rows = width.layers * (2 * length * width.heads + width.short_convolution - 1)
    assert found.rounded["int8"].size == caches + tails + 4 * rows + masks


def test_what_does_not_step_is_refused() -> None:
    with pytest.raises(Unsupported, match="does not decode token by token"):
        Stepped(nn.Linear(1, 1))


def untrained(variant: str, task: str = "mqar") -> TrainedCell:
    (cell,) = cells_of([variant], tasks=(task,))
    made = TASKS.load(task)(cell.recipe)
    return TrainedCell(cell, made, build_model(cell, made).eval())


@torch.no_grad()
def by_hand(cell: TrainedCell, dtype: str, count: int) -> list[list[list[float]]]:
    """The metric of each example at each level, before and after, in plain loops."""
    found = []
    for level in cell.task.at_levels():
        test = level.examples("test")
        own = []
        for kind in (None, dtype):
            read, targets = test["inputs"][:count], test["targets"][:count]
            state, outputs = start(cell.model, count), []
            for t in range(read.shape[1]):
                logits, state = step(cell.model, read[:, t], state)
                state = state if kind is None else round_state(state, kind)
                outputs.append(logits.argmax(dim=-1))
            scored = math.ceil(len(outputs) / 4)  # parity asks for the last quarter
            right = torch.stack(outputs, dim=1) == targets
            values = [float(row[-scored:].sum()) / scored for row in right]
            own.append(values)
        found.append(own)
    return found


def test_the_loss_of_score_is_that_of_paired_examples(tmp_path: Path) -> None:
    count, cell = 50, untrained("deltanet", "parity")
    found = measure(cell, ("int8", "float32"), Scale(floor=0.2, top=1.0), examples=count)
    levels = by_hand(cell, "int8", count)
    lost = [[a - b for a, b in zip(*own, strict=True)] for own in levels]
    means = [sum(values) / count for values in lost]
    errors = [
        math.sqrt(sum((x - mean) ** 2 for x in values) / (count - 1) / count)
        for mean, values in zip(means, lost, strict=True)
    ]
    one = found.rounded["int8"]
    assert any(map(any, lost)), "rounding changes no answer, so this test says nothing"
    assert one.lost.value == pytest.approx(sum(means) / len(means), abs=1e-6)
    assert one.lost.standard_error == pytest.approx(math.hypot(*errors) / len(errors), rel=1e-4)
    assert one.score_lost.value == pytest.approx(one.lost.value / 0.8)
    assert found.before.value - one.after.value == pytest.approx(one.lost.value, abs=1e-6)
    assert found.rounded["float32"].lost.value == 0
    assert found.parallel_error < 1e-4
    longest = cell.task.at_levels()[-1].examples("test")["inputs"].shape[1]
    assert len(one.by_position) == longest
    stored = evaluations(cell, found)
    assert {one.settings["state_dtype"] for one in stored} == {"int8", "float32"}
    assert len({(one.metric, one.settings["state_dtype"]) for one in stored}) == len(stored) == 16
    (path,) = plot(found, tmp_path)
    assert "int8" in path.read_text()


def test_outputs_that_are_not_finite_are_left_out_and_said() -> None:
    cell = untrained("linear")
    with torch.no_grad():
        for name, parameter in cell.model.named_parameters():
            if "value" in name:
                parameter.mul_(1e6)  # beyond 65504, where float16 ends
    found = measure(cell, ("float16", "bfloat16"), examples=5)
    assert set(found.rounded) == {"bfloat16"}
    (said,) = found.left_out
    assert said == (
        "float16 is left out: with a state in float16 the outputs are not finite from position 1 "
        "on."
    )


def test_mlflow_names_the_results_by_what_was_measured() -> None:
    cell = untrained("linear")
    found = evaluations(cell, measure(cell, ("int8",), Scale(0.2, 1.0), examples=6))
    record = make_record("0" * 32).model_copy(update={"evaluations": found})
    names = [name for name, _, _ in metrics(record) if name.startswith("evaluation")]
    error = "evaluation_mqar_relative_error_of_outputs_part_{}_of_4_examples_6_state_dtype_int8"
    assert sorted(names) == sorted(
        [
            *(error.format(part) for part in (1, 2, 3, 4)),
            *(
                f"evaluation_mqar_{name}_examples_6_state_dtype_int8"
                for name in (
                    "accuracy_after_rounding",
                    "accuracy_before_rounding",
                    "accuracy_lost",
                    "score_lost",
                )
            ),
        ]
    )


@pytest.mark.parametrize(
    ("variant", "task", "dtype", "said"),
    [
        ("nystrom", "mqar", "int8", "nystrom does not decode token by token"),
        ("linear", "sort", "int8", "The network of sort (memory decoder) does not decode"),
        ("linear", "mqar", "int3", "There is no state dtype called 'int3'"),
        ("linear", "mqar", ",", "--state-dtype is empty"),
    ],
)
def test_the_command_refuses_in_a_sentence(variant, task, dtype, said, tmp_path: Path) -> None:
    found = cab_here(
        "probe", "--variant", variant, "--task", task, "--state-dtype", dtype, "--store", tmp_path
    )
    assert found.code == 2
    assert said in found.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_stores_what_it_prints(tmp_path: Path) -> None:
    arguments = ("probe", "--variant", "linear", "--task", "mqar", "--profile", "smoke")
    arguments += ("--unchecked", "--store", tmp_path, "--state-dtype", ",".join(STATE_DTYPES))
    first = cab_here(*arguments, "--json", "--plots", tmp_path / "plots")
    assert first.code == 0, first.err
    found = first.document
    assert set(found["rounded"]) == set(STATE_DTYPES)
    assert found["rounded"]["float32"]["error"] == [0, 0, 0, 0]
    assert found["plots"] == [str(tmp_path / "plots" / "state.svg")]
    (record,) = RecordStore(tmp_path).load()[0]
    # The steps give what the parallel form gave when the cell was tested.
    assert found["before"] == json.loads(record.metrics.test["accuracy"].model_dump_json())
    stored = {
        (one.metric, one.settings["state_dtype"]): one.value
        for one in record.evaluations
        if one.harness == "cab probe"
    }
    for dtype, one in found["rounded"].items():
        assert stored["accuracy after rounding", dtype] == one["after"]["value"]
        assert stored["relative error of outputs, part 4 of 4", dtype] == one["error"][3]
    shown = cab_here("show", "linear", "--profile", "smoke", "--store", tmp_path)
    assert "accuracy after rounding (state_dtype int8)" in shown.out
    again = cab_here(*arguments)
    assert again.code == 0, again.err
    assert "with a rounded decode state" in again.out
    assert len(RecordStore(tmp_path).load()[0][0].evaluations) == len(record.evaluations)
