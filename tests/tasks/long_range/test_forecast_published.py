"""CAB's forecasting: Informer's series from files of the same form, and the published settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import REPOSITORY
from task_support import softmax_slots
from tiny_cells import run_tiny, tiny

from cab.backbones.informer import Distilling, Informer, InformerConfig
from cab.backbones.slots import Width
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.tasks.long_range.lstf._informer import Parts, calendar

TASKS = discover_tasks()
SERIES = ("etth1", "etth2", "ettm1", "ecl", "weather")
NAMES = [
    f"forecast-{series}-{channels}-{pattern}"
    for series in SERIES
    for channels in ("uni", "multi")
    for pattern in ("ns", "nc")
]
FILES = {
    "etth1": "ett/ETTh1.csv",
    "etth2": "ett/ETTh2.csv",
    "ettm1": "ett/ETTm1.csv",
    "ecl": "informer/ECL.csv",
    "weather": "informer/WTH.csv",
}
TARGETS = {"ecl": "MT_320", "weather": "WetBulbCelsius"}


def write(path, names, rows, minutes=60):
    """A csv like Informer's: the date, then one column per channel; each value says its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = np.datetime64("2016-07-01T00:00:00")
    dates = np.datetime_as_string(start + np.arange(rows) * np.timedelta64(minutes, "m"))
    lines = [",".join(("date", *names))]
    for row, date in enumerate(dates):
        values = [f"{np.sin(row / (5 + at)) + row / 9e4:.6f}" for at in range(len(names))]
        lines.append(",".join((date.replace("T", " "), *values)))
    path.write_text("\n".join(lines) + "\n")


def test_the_tasks_are_five_series_in_one_channel_and_in_all_in_two_patterns():
    folder = REPOSITORY / "tasks" / "long_range" / "lstf"
    assert sorted(NAMES) == sorted(
        name for name in TASKS.names() if TASKS.entry(name).path.parent == folder
    )
    for name in NAMES:
        card = TASKS.card(name)
        assert name.endswith(f"-{card.pattern}")
        assert not card.scored_in("full")
        assert set(card.suites) == {"cab"}


@pytest.mark.parametrize(
    ("series", "channels", "history", "known", "horizon", "count", "encoder", "decoder"),
    [
        # tasks/LSTF/scripts of CAB's repository; the channels are those of Informer's program.
        ("etth1", "multi", 336, 336, 720, 7, 2, 1),
        ("etth1", "uni", 168, 168, 720, 1, 2, 1),
        ("etth2", "multi", 720, 336, 720, 7, 2, 1),
        ("etth2", "uni", 336, 336, 720, 1, 2, 1),
        ("ettm1", "multi", 672, 384, 672, 7, 2, 1),
        ("ettm1", "uni", 384, 384, 672, 1, 2, 1),
        ("ecl", "multi", 336, 336, 960, 321, 3, 2),
        ("ecl", "uni", 336, 336, 960, 1, 3, 2),
        ("weather", "multi", 720, 336, 720, 12, 3, 2),
        ("weather", "uni", 720, 336, 720, 1, 3, 2),
    ],
)
def test_the_settings_are_those_of_cab_s_scripts(
    series, channels, history, known, horizon, count, encoder, decoder
):
    for pattern in ("ns", "nc"):
        recipe = TASKS.load(f"forecast-{series}-{channels}-{pattern}").recipes["full"]
        model, train = recipe.model, recipe.train
        assert (recipe.data.history, recipe.data.horizon) == (history, horizon)
        assert (model.history, model.label, model.horizon) == (history, known, horizon)
        assert (model.channels, model.encoder_layers) == (count, encoder)
        assert recipe.data.target == ("" if channels == "multi" else TARGETS.get(series, "OT"))
        assert model.width == Width(512, 8, decoder, expansion=4, dropout=0.05)
        assert (train.batch_size, train.learning_rate, train.steps % 6) == (32, 1e-4, 0)
        assert (train.decay, train.every, train.hold) == (0.5, train.steps // 6, train.steps // 6)


def test_an_epoch_and_the_windows_tested_are_those_of_informer_s_loader():
    recipe = TASKS.load("forecast-etth1-multi-nc").recipes["full"]
    months = 30 * 24
    assert recipe.train.every == (12 * months - 336 - 720 + 1) // 32
    assert recipe.test_examples == 4 * months - 720 + 1
    assert Parts.of(26_304) == Parts(18_412, 2_632, 5_260)


def test_the_calendar_is_from_minus_a_half_to_a_half():
    dates = ["2016-02-29 23:45:00", "2018-01-01 00:00:00", "2019-12-31 12:00:00"]
    expected = [
        [23 / 23, 0 / 6, 28 / 30, 59 / 365],  # a Monday
        [0, 0, 0, 0],  # a Monday
        [12 / 23, 1 / 6, 30 / 30, 364 / 365],
    ]
    assert torch.allclose(calendar(dates), torch.tensor(expected) - 0.5)


def test_a_series_is_cut_in_order_and_scaled_by_its_training_part(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write(tmp_path / "informer" / "ECL.csv", ["MT_000", "MT_001", "MT_320"], 203)
    raw = np.loadtxt(tmp_path / "informer" / "ECL.csv", delimiter=",", skiprows=1, usecols=[1, 3])
    scaled = torch.from_numpy((raw - raw[:142].mean(axis=0)) / raw[:142].std(axis=0)).float()
    for name, columns in (("multi", slice(None)), ("uni", slice(1, None))):
        task_class = TASKS.load(f"forecast-ecl-{name}-nc")
        recipe = task_class.recipes["full"]
        task = task_class(
            replace(recipe, data=replace(recipe.data, history=9, horizon=7)), tmp_path
        )
        task.parts = Parts.of(203)
        for split, (start, end) in {
            "train": (0, 142),
            "valid": (133, 163),
            "test": (154, 203),
        }.items():
            values = task._steps[split][0]
            assert len(values) == end - start
            kept = values if name == "uni" else values[:, [0, 2]]
            assert torch.allclose(kept, scaled[start:end, columns], atol=1e-5)
        batch = task.draw("test", 5, generator("series"))
        assert torch.equal(batch["inputs"][0], task._steps["test"][0][:9])
        assert torch.equal(batch["targets"][-1], task._steps["test"][0][-7:])
        dates = [f"2016-07-{1 + hour // 24:02} {hour % 24:02}:00:00" for hour in range(154, 170)]
        assert torch.equal(batch["calendar"][0], calendar(dates))


def lengths_of(args):
    return [one.shape[1] for one in args if one is not None]


CONFIG = InformerConfig(Width(8, 2, 2, dropout=0.0), 3, 2, 4, history=21, label=9, horizon=7)


def test_informer_halves_the_history_between_its_layers_and_forecasts_all_steps():
    slots = softmax_slots("nc")
    model = Informer(CONFIG, slots)
    lengths = [one.max_length for name, _, one in slots.filled if name == "encoder_self"]
    assert lengths == [21, 11, 6]
    assert len(slots.tested) == 2
    seen = []
    for _, _, one in slots.filled:
        one.register_forward_pre_hook(lambda _, args: seen.append(lengths_of(args)))
    assert model(torch.randn(3, 21, 2), torch.randn(3, 28, 4)).shape == (3, 7, 2)
    assert seen == [[21], [11], [6], [16], [16, 6], [16], [16, 6]]
    assert Distilling(8)(torch.randn(1, 6, 8)).shape == (1, 3, 8)
    with pytest.raises(ValueError, match="label = 22 is longer than history = 21"):
        replace(CONFIG, label=22)


def test_a_forecast_depends_on_history_and_calendar_and_not_on_steps_before_what_is_known():
    model = Informer(replace(CONFIG, encoder_layers=1), softmax_slots("ns")).eval()
    history, dates = torch.randn(2, 21, 2), torch.randn(2, 28, 4)
    base = model(history, dates)
    for place in (0, 20):
        changed = history.clone()
        changed[:, place] += 1
        assert not torch.allclose(model(changed, dates), base)
    later = dates.clone()
    later[:, -1] += 1
    moved = model(history, later)
    assert torch.allclose(moved[:, :-1], base[:, :-1], atol=1e-6)
    assert not torch.allclose(moved[:, -1], base[:, -1])


def test_errors_are_in_training_units_and_no_window_is_normalised():
    task_class = TASKS.load("forecast-etth1-multi-ns")
    task = task_class(task_class.recipes["full"])
    batch = {
        "inputs": torch.full((2, 5, 3), 7.0),
        "calendar": torch.zeros(2, 9, 4),
        "targets": torch.stack((torch.full((4, 3), 9.0), torch.full((4, 3), 6.0))),
    }

    def answer(history, _):
        assert torch.equal(history, batch["inputs"])
        return history[:, :4]

    found = task.evaluate(answer, batch)
    assert found["mse"].tolist() == [4, 1]
    assert found["mae"].tolist() == [2, 1]
    assert task.shortcuts(batch)["last value"].tolist() == [4, 1]
    assert task.loss(answer, batch).item() == 2.5


def home_of(folder, series):
    steps = {"ettm1": 20 * 30 * 96, "ecl": 26_304, "weather": 35_064}
    names = [f"channel {at}" for at in range(2)] + [TARGETS.get(series, "OT")]
    rows = steps.get(series, 20 * 30 * 24)
    write(folder / FILES[series], names, rows, 15 if series == "ettm1" else 60)
    return folder


def run_series(folder, series, *kinds):
    home = home_of(folder, series)
    cells = [
        tiny(
            f"forecast-{series}-{kind}",
            variant=variant,
            data={"history": 12, "horizon": 5},
            model={"history": 12, "label": 8, "horizon": 5, "channels": channels},
        )
        for kind, variant, channels in kinds
    ]
    found = run_tiny(home, cells)
    assert len(found) == len(cells)
    for record in found.values():
        assert set(record.metrics.test) == {"mse", "mae"}
        assert 0 < record.metrics.test["mse"].value < 100
        # The last point of the curve is of the weights that are tested: the best ones.
        measured = [point.valid["mse"] for point in record.curve if point.valid]
        assert measured[-1] == min(measured) == record.metrics.valid["mse"].value


def test_cells_train_evaluate_and_record_on_a_file_of_the_published_form(tmp_path):
    run_series(tmp_path, "etth1", ("uni-ns", "softmax", 1), ("multi-nc", "linear", 3))


@pytest.mark.slow
@pytest.mark.parametrize("series", SERIES)
def test_each_series_trains_evaluates_and_records_in_both_patterns(series, tmp_path):
    kinds = [
        (f"{kind}-{pattern}", "softmax", channels)
        for kind, channels in (("uni", 1), ("multi", 3))
        for pattern in ("ns", "nc")
    ]
    run_series(tmp_path, series, *kinds)
