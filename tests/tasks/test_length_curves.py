"""Tasks that can be stretched are tested at other lengths, and what fails there is said."""

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from cli_support import cab_here, make_record
from support import VARIANTS

from cab.attention import build_attention
from cab.backbones.decoder import Decoder, DecoderConfig
from cab.backbones.layers import SinusoidalPositions
from cab.backbones.slots import Slots, Width
from cab.errors import Unsupported
from cab.profiles import get_profile
from cab.records.store import AtLength, Estimate, Metrics, RecordStore, parse_record
from cab.registry import discover_tasks
from cab.running.awake import awake
from cab.running.worker import length_curve
from cab.scores.summary import summarise
from cab.seeding import generator
from cab.task import LENGTH_FACTORS, LONGEST, Task
from cab.taxonomy import Pattern
from cab.tracking.runs import metrics

TASKS = discover_tasks()
KEY = "0123456789abcdef0123456789abcdef"
STRETCHED = ["byte-lm", "mqar", "passkey", "selective-copy"]
GENERATED = STRETCHED[1:]
POINTS = (0.25, 0.5, 1.0, 2.0, 4.0)


def task_of(name: str, profile: str = "smoke") -> Task:
    task_class = TASKS.load(name)
    return task_class(task_class.recipes[profile])


def slots(variant: str = "softmax") -> Slots:
    chosen = partial(build_attention, VARIANTS.load(variant), {})
    return Slots(Pattern.CS, chosen, partial(build_attention, VARIANTS.load("softmax"), {}))


def curve_of(task: Task, model: torch.nn.Module, began: float | None = None):
    test = task.examples("test")
    measured = {task.card.metric: Estimate(value=0.5, standard_error=0.1, n=50)}
    began = awake() if began is None else began
    accelerator = Accelerator(cpu=True)
    return length_curve(task, model, accelerator, test, measured, get_profile("quick"), began)


def test_the_tasks_that_can_be_stretched_are_these():
    for name in TASKS.names():
        task_class = TASKS.load(name)
        others = task_class(next(iter(task_class.recipes.values()))).at_lengths()
        assert set(others) == (set(LENGTH_FACTORS) if name in STRETCHED else set()), name
    assert max(LENGTH_FACTORS) == LONGEST


@pytest.mark.parametrize("profile", ["smoke", "quick"])
@pytest.mark.parametrize("name", GENERATED)
def test_examples_are_as_much_longer_as_the_factor_says(name, profile):
    task = task_of(name, profile)
    batch = task.draw("test", 2, generator("own"))
    for factor, other in task.at_lengths().items():
        longer = other.draw("test", 2, generator("other"))
        assert longer["inputs"].shape[1] == factor * batch["inputs"].shape[1]
        assert other.recipe.model == task.recipe.model


@pytest.mark.parametrize("name", STRETCHED)
def test_the_test_has_as_many_tokens_at_every_length(name):
    task = task_of(name, "quick")
    own, batch = task.recipe.test_examples, task.recipe.evaluation_batch
    for factor, other in task.at_lengths().items():
        assert other.recipe.test_examples * factor == pytest.approx(own, rel=0.01)
        assert other.recipe.evaluation_batch * max(1, factor) ** 2 <= batch


@pytest.mark.parametrize("profile", ["smoke", "quick"])
@pytest.mark.parametrize("name", STRETCHED)
def test_every_slot_is_told_of_the_longest_length(name, profile):
    task, filled = task_of(name, profile), slots()
    task.build(filled)
    length = task.recipe.data.length
    assert {module.max_length for _, _, module in filled.filled} == {LONGEST * length}


@pytest.mark.parametrize("positions", [1.0, False])
def test_positions_that_go_on_add_no_parameter_and_take_any_length(positions):
    config = DecoderConfig(
        Width(dim=12, heads=3, layers=1), vocabulary=5, length=8, positions=positions
    )
    model = Decoder(config, slots("linear"))
    assert not any(name.startswith("positions") for name, _ in model.named_parameters())
    assert model(torch.zeros(2, 50, dtype=torch.long)).shape == (2, 50, 5)


def test_sinusoidal_positions_are_those_of_the_formula():
    dim, length = 7, 300
    added = SinusoidalPositions(dim, amplitude=2.0)(torch.zeros(1, length, dim).double())[0]
    for place in (0, 1, 17, 299):
        for i in range(4):
            angle = place * 10_000 ** (-2 * i / dim)
            assert added[place, i].item() == pytest.approx(2 * math.sin(angle), abs=1e-12)
            if i < 3:
                assert added[place, 4 + i].item() == pytest.approx(2 * math.cos(angle), abs=1e-12)


def test_sinusoidal_positions_of_a_prefix_do_not_depend_on_what_follows():
    x = torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(0))
    positions = SinusoidalPositions(6)
    assert torch.equal(positions(x)[:, :13], positions(x[:, :13]))


@pytest.mark.parametrize("name", GENERATED)
def test_a_curve_has_every_length_once_and_the_test_itself_at_one(name):
    task = task_of(name)
    curve = curve_of(task, task.build(slots()))
    length = task.tokens(task.examples("test")) // task.recipe.test_examples
    assert [point.factor for point in curve] == list(POINTS)
    assert [point.length for point in curve] == [factor * length for factor in POINTS]
    assert [point.status for point in curve] == ["ok"] * 5
    own = task.recipe.test_examples
    assert curve[2].estimate == Estimate(value=0.5, standard_error=0.1, n=50)
    for point in curve:
        assert point.factor == 1 or point.estimate.n == math.ceil(own / point.factor)


def test_a_point_is_what_evaluation_at_that_length_gives():
    task = task_of("mqar")
    model = task.build(slots()).eval()
    curve = {point.factor: point for point in curve_of(task, model)}
    for factor, other in task.at_lengths().items():
        with torch.no_grad():
            values = other.evaluate(model, other.examples("test"))["accuracy"]
        assert curve[factor].estimate.value == pytest.approx(values.double().mean().item())


class Limited(torch.nn.Module):
    """A model that cannot take what is longer than it was made for."""

    def __init__(self, limit: int, error: Exception) -> None:
        super().__init__()
        self.limit, self.error = limit, error

    def forward(self, tokens):
        if tokens.shape[1] > self.limit:
            raise self.error
        return torch.zeros(*tokens.shape, 16)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unsupported("too long for this one"), "unsupported"),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), "oom"),
        (MemoryError("no more"), "oom"),
        (IndexError("no such row"), "error"),
    ],
)
def test_a_length_that_fails_is_said_and_the_others_stand(error, status):
    curve = curve_of(task_of("mqar"), Limited(16, error))
    assert [point.status for point in curve] == ["ok"] * 3 + [status] * 2
    assert [point.estimate is None for point in curve] == [False] * 3 + [True] * 2
    assert all(str(error) in point.message for point in curve[3:])


def test_a_length_that_gives_what_is_no_number_is_said():
    task = task_of("mqar")
    whole = task.evaluate

    class Diverging(type(task)):
        def evaluate(self, model, batch):
            bad = torch.full((len(batch["inputs"]),), float("nan"))
            return {"accuracy": bad} if batch["inputs"].shape[1] == 64 else whole(model, batch)

    model = task.build(slots()).eval()
    curve = curve_of(Diverging(task.recipe), model)
    assert [point.status for point in curve] == ["ok"] * 4 + ["diverged"]


def test_a_length_that_would_not_end_in_time_is_not_started():
    limit = get_profile("quick").time_limit
    curve = curve_of(task_of("mqar"), Limited(64, ValueError()), awake() - limit - 1)
    assert {point.status for point in curve} == {"timeout"}
    assert all("limit" in point.message for point in curve)


def test_a_task_of_one_length_has_no_curve():
    task = task_of("induction")
    assert curve_of(task, task.build(slots())) == ()


ESTIMATE = Estimate(value=0.5, standard_error=0.1, n=4)
LENGTHS = (
    AtLength(factor=0.5, length=8, estimate=ESTIMATE),
    AtLength(factor=1, length=16, estimate=ESTIMATE),
    AtLength(factor=2, length=32, status="oom", message="no memory"),
)


def with_lengths(seed: int = 0, points: tuple[AtLength, ...] = LENGTHS):
    record = make_record(KEY, seed=seed)
    return record.model_copy(
        update={"metrics": record.metrics.model_copy(update={"lengths": points})}
    )


def test_a_record_keeps_its_curve():
    record = with_lengths()
    again = parse_record(record.to_json(), Path(f"{KEY}.json"))
    assert again == record
    assert again.metrics.lengths == LENGTHS


def test_a_record_of_before_is_read_without_a_curve():
    document = json.loads(make_record(KEY).to_json())
    del document["metrics"]["lengths"]
    assert parse_record(json.dumps(document), Path(f"{KEY}.json")).metrics.lengths == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "oom", "estimate": ESTIMATE},
        {"status": "ok"},
        {"factor": 0, "estimate": ESTIMATE},
        {"length": 0, "estimate": ESTIMATE},
    ],
)
def test_a_point_that_contradicts_itself_is_refused(fields):
    with pytest.raises(ValueError, match=r"does not go|greater than"):
        AtLength(**{"factor": 2, "length": 32, **fields})


def test_a_row_has_the_mean_over_seeds_at_each_length_or_how_it_ended():
    better = Estimate(value=0.9, standard_error=0.1, n=4)
    second = (AtLength(factor=0.5, length=8, estimate=better), *LENGTHS[1:])
    (row,) = summarise([with_lengths(0), with_lengths(1, second)])
    assert row.lengths == {0.5: pytest.approx(0.7), 1.0: 0.5, 2.0: "oom"}


def test_mlflow_gets_the_lengths_that_have_a_number():
    found = {name: value for name, value, _ in metrics(with_lengths())}
    assert found["test_accuracy_at_0.5x"] == 0.5
    assert found["test_accuracy_at_1x"] == 0.5
    assert "test_accuracy_at_2x" not in found


def test_metrics_without_a_curve_have_an_empty_one():
    assert Metrics().lengths == ()


def test_show_prints_the_curve_and_how_a_length_ended(tmp_path: Path):
    RecordStore(tmp_path).write(with_lengths())
    said = cab_here("show", "softmax", "--store", tmp_path)
    assert said.code == 0, said.err
    assert "mqar, softmax, by length: 0.5x 0.500, 1.0x 0.500, 2.0x oom" in said.out
    (row,) = cab_here("show", "softmax", "--store", tmp_path, "--json").document["rows"]
    assert row["lengths"] == {"0.5": 0.5, "1.0": 0.5, "2.0": "oom"}


def test_run_measures_the_curve_and_gives_it_as_json(tmp_path: Path):
    said = cab_here(
        *("run", "--variant", "softmax", "--task", "mqar", "--profile", "smoke", "--unchecked"),
        *("--tracking", "none", "--store", tmp_path, "--json"),
    )
    assert said.code == 0, said.err
    (cell,) = said.document["cells"]
    assert [point["factor"] for point in cell["lengths"]] == list(POINTS)
    assert [point["length"] for point in cell["lengths"]] == [4, 8, 16, 32, 64]
    assert cell["lengths"][2]["estimate"] == cell["levels"][-1]["test"]
