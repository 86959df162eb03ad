"""Forecast on Informer's other series, from small files of the same form; published sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from task_support import softmax_slots

from cab.backbones.forecaster import Forecaster
from cab.backbones.slots import Width
from cab.registry import discover_tasks
from cab.seeding import generator

TASKS = discover_tasks()


def write(path, names, rows):
    """A csv like Informer's: the date, then one column per channel; each value says its place."""
    path.parent.mkdir(parents=True)
    lines = [",".join(("date", *names))]
    for hour in range(rows):
        values = [f"{hour + at / 8}" for at in range(len(names))]
        lines.append(",".join((f"2014-01-{1 + hour // 24:02} {hour % 24:02}:00:00", *values)))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "file", "names"),
    [
        ("forecast-ecl", "ECL.csv", ["MT_000", "MT_001", "MT_320"]),
        ("forecast-weather", "WTH.csv", ["Visibility", "WetBulbCelsius"]),
    ],
)
def test_a_series_is_cut_seven_to_one_to_two(name, file, names, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write(tmp_path / "informer" / file, names, 203)
    task_class = TASKS.load(name)
    recipe = task_class.recipes["standard"]
    task = task_class(replace(recipe, data=replace(recipe.data, history=9, horizon=7)), tmp_path)
    raw = np.arange(203)[:, None] + np.arange(len(names)) / 8
    train = raw[:142]
    scaled = torch.from_numpy((raw - train.mean(axis=0)) / train.std(axis=0)).float()
    expected = {"train": (0, 142), "valid": (142 - 9, 163), "test": (163 - 9, 203)}
    for split, (start, end) in expected.items():
        assert torch.allclose(task._series[split], scaled[start:end], atol=1e-5)
    batch = task.draw("test", 5, generator("series"))
    assert torch.allclose(batch["inputs"][0], scaled[154:163], atol=1e-5)
    assert torch.allclose(batch["targets"][-1], scaled[196:203], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels", "history", "horizon", "encoder", "decoder"),
    [
        ("forecast", 7, 336, 720, 2, 1),
        ("forecast-ecl", 321, 336, 960, 3, 2),
        ("forecast-weather", 12, 720, 720, 3, 2),
    ],
)
def test_published_lengths_and_depths_are_cab_s(
    name, channels, history, horizon, encoder, decoder
):
    for profile in ("standard", "full"):
        recipe = TASKS.load(name).recipes[profile]
        assert (recipe.data.history, recipe.data.horizon) == (history, horizon)
        assert (recipe.model.history, recipe.model.horizon) == (history, horizon)
        assert recipe.model.channels == channels
        assert recipe.model.label == 336
    assert recipe.model.width == Width(512, 8, decoder, expansion=4, dropout=0.05)
    small = replace(recipe.model, width=replace(recipe.model.width, dim=8))
    slots = softmax_slots("nc")
    model = Forecaster(small, slots)
    assert [slot for slot, _, _ in slots.filled].count("encoder_self") == encoder
    assert len(slots.tested) == decoder
    assert model(torch.zeros(1, history, channels)).shape == (1, horizon, channels)
