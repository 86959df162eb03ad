"""How well tasks tell entries apart: variance components by hand, and each condition both ways."""

from dataclasses import replace
from typing import Any

import pytest
from cli_support import make_record
from levelled_records import at_levels

from cab.analysis.reliability import Finding, reliability
from cab.analysis.variance import Score, scores_of, variance_components
from cab.records.parts import Settings
from cab.registry import discover_tasks
from cab.scores.normalise import Scale

TASKS = discover_tasks()
CS = {name: replace(TASKS.card("mqar"), name=name) for name in ("a", "b", "c")}


def score(entry: str, task: str, *seeds: float, at_end: bool | None = False) -> Score:
    return Score(entry, task, seeds, at_end, (1.0, 1.0))


def judged(scores: list[Score], longer: Any = (), **named: Any) -> dict[str, Finding]:
    found = reliability(scores, longer, {**CS, **named}, "softmax", ["mean"])
    return {one.name: one for one in found.findings}


def test_variance_is_parted_as_in_a_table_that_was_worked_out_by_hand() -> None:
    # Means:        a    b          entry means .3 and .7, task means .4 and .6, grand mean .5
    #   linear     .2   .4          MS(entry) = 2 (.04 + .04) / 1 = .16
    #   softmax    .6   .8          MS(task)  = 2 (.01 + .01) / 1 = .04, MS(rest) = 0
    means = (
        ("linear", "a", 0.2),
        ("linear", "b", 0.4),
        ("softmax", "a", 0.6),
        ("softmax", "b", 0.8),
    )
    found = variance_components(
        [score(entry, task, mean - 0.01, mean + 0.01) for entry, task, mean in means]
    )
    assert found is not None
    assert (found.entries, found.tasks) == (2, 2)
    assert found.entry == pytest.approx(0.08)
    assert found.task == pytest.approx(0.02)
    assert found.interaction == pytest.approx(0.0)
    assert found.seed == pytest.approx(0.0002)  # the variance of m - .01 and m + .01
    assert found.reliability == pytest.approx(1.0)


def test_what_changes_order_from_task_to_task_is_not_reliable() -> None:
    # linear .2 .8, softmax .8 .2: both means are .5, so nothing comes from the entries.
    means = (
        ("linear", "a", 0.2),
        ("linear", "b", 0.8),
        ("softmax", "a", 0.8),
        ("softmax", "b", 0.2),
    )
    found = variance_components([score(*one) for one in means])
    assert found is not None
    assert found.entry == 0.0
    assert found.interaction == pytest.approx(0.36)
    assert found.reliability == 0.0


def test_entries_without_all_tasks_are_left_out() -> None:
    scores = [score("linear", "a", 0.1), score("softmax", "a", 0.2), score("softmax", "b", 0.3)]
    assert variance_components(scores) is None


def test_the_reference_must_reach_each_level_where_it_can_solve_the_task() -> None:
    good = Score("softmax", "a", (1.0,), False, (1.0, 0.96, 0.86))
    low = Score("softmax", "b", (0.9,), False, (0.94, 1.0, 0.84))
    found = judged([good, low])["softmax at each level"]
    assert found.holds is False
    assert found.details == (
        "b, level 1: 0.940, required 0.95",
        "b, level 3: 0.840, required 0.85",
    )
    assert judged([good])["softmax at each level"].holds is True
    solved = {"b": replace(CS["b"], solvers={"rwkv7": {}})}
    assert judged([good, low], **solved)["softmax at each level"].holds is True


@pytest.mark.parametrize(
    ("name", "value"), [("entries above the ceiling", 0.96), ("entries at the floor", 0.04)]
)
def test_a_task_on_which_many_are_alike_is_named(name: str, value: float) -> None:
    few = [score(str(n), "a", value if n < 1 else 0.5) for n in range(4)]
    assert judged(few)[name].holds is True
    many = [score(str(n), "a", value if n < 2 else 0.5) for n in range(4)]
    assert judged(many)[name].holds is False
    assert judged(many)[name].details == ("a: 50%",)
    controls = [*few, score("mean", "a", value)]
    assert judged(controls)[name].holds is True


def test_wide_and_scattered_seeds_are_counted() -> None:
    calm = [score(str(n), "a", 0.5, 0.55, 0.6) for n in range(50)]
    found = judged(calm)
    assert found["range over seeds above 0.3"].holds is True
    assert found["deviation over seeds of at most 0.06"].holds is True
    found = judged([*calm, score("wild", "a", 0.1, 0.5, 0.9), score("wilder", "b", 0.1, 0.9)])
    assert found["range over seeds above 0.3"].found == "3.8% of 52 cells"
    assert found["range over seeds above 0.3"].holds is False
    assert found["range over seeds above 0.3"].details[0] == "wild on a: 0.10 0.50 0.90"
    loose = [score(str(n), "b", 0.4, 0.5, 0.6) for n in range(10)]
    found = judged(calm[:50] + loose)
    assert found["deviation over seeds of at most 0.06"].found == "83.3% of 60 cells"
    assert found["deviation over seeds of at most 0.06"].holds is False


def test_rates_at_an_end_are_counted_where_there_is_a_choice() -> None:
    name = "chosen learning rate at an end of those tried"
    scores = [score(str(n), "a", 0.5, at_end=n == 0) for n in range(4)]
    assert judged(scores)[name].found == "25% of 4 cells"
    assert judged(scores)[name].holds is True
    assert judged([*scores, score("4", "b", 0.5, at_end=True)])[name].holds is False
    assert judged([score("0", "a", 0.5, at_end=None)])[name].holds is None


def test_the_order_after_longer_training_is_compared() -> None:
    name = "order in cs after 4 times the steps"
    scores = [score(str(n), task, n / 10) for n in range(6) for task in "ab"]
    same = [score(str(n), task, 0.3 + n / 10) for n in range(6) for task in "ab"]
    assert judged(scores, same)[name].holds is True
    other = [score(str(n), task, -n / 10) for n in range(6) for task in "ab"]
    found = judged(scores, other)[name]
    assert (found.holds, found.found) == (False, "-1.00 (6 entries)")
    assert judged(scores)[name].holds is None


def record(rate: float, value: float, seed: int = 0, **changed: Any) -> Any:
    """A record of a task with three rates and two levels, the first of which is solved."""
    recipe = {"train": {"learning_rate": rate}, "rates": [0.1, 0.2, 0.3]}
    return make_record(
        f"{round(rate * 1e6) + seed:032x}",
        variant="linear",
        seed=seed,
        settings=Settings(recipe=recipe, changed=changed),
        metrics=at_levels((1.0, 2 * value - 1)),
    )


def test_scores_are_those_of_the_seeds_at_the_chosen_rate() -> None:
    records = [
        record(0.1, 0.5),
        record(0.2, 0.8),
        record(0.3, 0.6),
        record(0.2, 0.9, seed=1),
        record(0.2, 0.95, **{"train.steps": 4000}),
        record(0.2, 0.1, **{"model.dim": 4}),
    ]
    (one,) = scores_of(records, {"mqar": Scale(0.5, 1.0)})
    assert (one.entry, one.task, one.at_end) == ("linear", "mqar", False)
    assert one.seeds == pytest.approx((0.6, 0.8))
    assert one.levels == pytest.approx((1.0, 0.7))
    (longer,) = scores_of(records, {"mqar": Scale(0.5, 1.0)}, longer=True)
    assert longer.seeds == pytest.approx((0.9,))
    assert scores_of(records, {}) == ()


def test_rates_that_were_tried_are_no_seeds_before_one_is_chosen() -> None:
    (one,) = scores_of([record(0.1, 0.9), record(0.2, 0.6)], {"mqar": Scale(0.5, 1.0)})
    assert one.seeds == pytest.approx((0.8,))
