"""Published schedules, clipping and the choice of weights; CAB's own training is not changed."""

import math
from dataclasses import asdict, replace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from cab.records.store import Estimate
from cab.registry import discover_tasks
from cab.running import training
from cab.running.optimisation import KeptWeights, factor, optimisation
from cab.task import PublishedTraining, Training

MQAR = discover_tasks().load("mqar")


def rates(recipe: Training) -> list[float]:
    """The rates of all steps, as the optimiser has them."""
    weight = nn.Parameter(torch.ones(1))
    optimiser, schedule = optimisation(recipe, [{"params": [weight]}])
    found = []
    for _ in range(recipe.steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_published_schedules_are_their_formulas():
    base = PublishedTraining(10, 1, 2.0, warmup=0.4)
    rise = [0.5, 1.0, 1.5]
    expected = {
        "constant": [2.0] * 7,
        "inverse-root": [2 * math.sqrt(4 / step) for step in range(4, 11)],
        "linear": [2 * (10 - step) / 6 for step in range(4, 11)],
        "cosine": [1 + math.cos(math.pi * (step - 4) / 6) for step in range(4, 11)],
    }
    for name, rest in expected.items():
        assert rates(replace(base, schedule=name)) == pytest.approx([*rise, *rest]), name


def test_a_rate_decays_step_by_step_after_a_hold_as_informer_s_does():
    recipe = PublishedTraining(
        12, 1, 1.0, warmup=0.0, schedule="decay", decay=0.5, every=2, hold=2
    )
    # Epochs of two steps: the first two at the full rate, then half as much in each.
    assert rates(recipe) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]
    assert min(rates(replace(recipe, lowest=0.2))) == 0.2


def test_a_warm_up_longer_than_the_training_never_reaches_the_rate():
    recipe = PublishedTraining(5, 1, 1.0, warmup=1.6, schedule="inverse-root")
    assert rates(recipe) == pytest.approx([step / 8 for step in range(1, 6)])


def test_own_training_has_the_one_cycle_schedule_and_its_settings_are_as_before():
    own = Training(20, 2, 3e-3)
    assert not set(asdict(own)) & {"schedule", "decay", "betas", "epsilon", "keep"}
    weight = nn.Parameter(torch.ones(1))
    optimiser = torch.optim.AdamW([weight], lr=3e-3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=21, pct_start=0.1)
    expected = []
    for _ in range(20):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cycle.step()
    assert rates(own) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warmup": -0.1}, "warmup must be a number of at least 0"),
        ({"schedule": "inverse-root", "warmup": 0.0}, "needs a warmup above 0"),
        ({"decay": 0.0}, "decay must be above 0"),
        ({"every": 0}, "every must be at least 1"),
        ({"betas": (0.9, 1.0)}, "betas must be from 0 to below 1"),
        ({"gradient_clip": -1.0}, "gradient_clip must be numbers above 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PublishedTraining(10, 1, 1e-3, **changes)


def test_no_warm_up_and_no_clipping_are_for_published_recipes_alone():
    PublishedTraining(10, 1, 1e-3, warmup=0.0, gradient_clip=0.0)
    with pytest.raises(ValueError, match="warmup must be a fraction"):
        Training(10, 1, 1e-3, warmup=0.0)
    with pytest.raises(ValueError, match="gradient_clip"):
        Training(10, 1, 1e-3, gradient_clip=0.0)


def kept_after(keep: str, accuracies: list[float]) -> tuple[float, bool]:
    """The weight after validations at weights 1, 2, 3 ..., and whether it was restored."""
    recipe = MQAR.recipes["smoke"]
    recipe = replace(recipe, train=PublishedTraining(9, 1, 1e-3, keep=keep))
    kept, model = KeptWeights(MQAR(recipe)), nn.Linear(1, 1, bias=False)
    for number, accuracy in enumerate(accuracies, 1):
        with torch.no_grad():
            model.weight.fill_(number)
        estimate = Estimate(value=accuracy, standard_error=0.0, n=9)
        kept.note(model, {"accuracy": estimate})
    restored = kept.restore(model)
    return model.weight.item(), restored


def test_the_last_the_best_and_the_mean_weights():
    accuracies = [0.1, 0.4, 0.9, 0.9, 0.2, 0.3, 0.1]
    assert kept_after("last", accuracies) == (7, False)
    assert kept_after("best", accuracies) == (3, True)
    assert kept_after("mean", accuracies) == ((3 + 4 + 5 + 6 + 7) / 5, True)


def test_counts_of_batches_are_not_averaged():
    recipe = replace(MQAR.recipes["smoke"], train=PublishedTraining(9, 1, 1e-3, keep="mean"))
    kept, model = KeptWeights(MQAR(recipe)), nn.BatchNorm1d(2)
    for _ in range(3):
        model(torch.randn(4, 2))
        kept.note(model, {"accuracy": Estimate(value=0.0, standard_error=0.0, n=9)})
    assert kept.restore(model)
    assert model.num_batches_tracked.item() == 3


def test_training_ends_with_the_weights_of_the_best_validation(monkeypatch):
    recipe = MQAR.recipes["smoke"]
    train = PublishedTraining(6, 4, 1e-2, warmup=0.0, gradient_clip=0.0, keep="best")
    task = MQAR(replace(recipe, levels=(), rates=(), train=train, evaluations=3))
    model = nn.Linear(1, 1, bias=False)
    script = iter([0.5, 0.8, 0.1, 0.8])
    seen = []

    def evaluate(*_):
        seen.append(model.weight.item())
        return {"accuracy": Estimate(value=next(script), standard_error=0.0, n=9)}

    monkeypatch.setattr(training, "evaluate", evaluate)
    monkeypatch.setattr(task, "loss", lambda model, batch: model.weight.sum())
    found = training.train(task, model, Accelerator(cpu=True), 0, lambda done, total: None)
    assert len(set(seen)) == 3
    assert seen[3] == seen[1] == model.weight.item()
    assert [one.valid["accuracy"] for one in found.curve if one.valid] == [0.5, 0.8, 0.8]
    assert found.valid["accuracy"].value == 0.8


def test_the_factor_of_each_step_is_at_most_one_and_never_below_zero():
    for schedule in ("constant", "inverse-root", "linear", "cosine", "decay"):
        recipe = PublishedTraining(50, 1, 1.0, warmup=0.1, schedule=schedule, decay=0.9, every=5)
        assert all(0 <= factor(recipe, step) <= 1 for step in range(1, 52)), schedule
