"""What other harnesses measured of the weights, and the loss by position, on a variant's page."""

from pathlib import Path

import pytest
from made_records import made
from site_support import results_of

from cab.records.results import results_file, write_lines
from cab.records.store import AtLength, Estimate, Evaluation, Positions
from cab.site.build import build_site
from cab.site.content import gather
from cab.site.weights import along_the_sequence, evaluated


def evaluation(value: float, **fields) -> Evaluation:
    known = {
        "harness": "lm-eval", "harness_version": "0.4", "task": "cab_recall", "task_version": "1",
        "metric": "acc", "higher_is_better": True, "value": value, "standard_error": 0.02, "n": 50,
    }  # fmt: skip
    return Evaluation(**{**known, **fields})


def along(factor: float, *nats: float) -> AtLength:
    """A test at a length whose loss is known in parts of ten tokens."""
    parts = tuple(
        Positions(first=10 * place, last=10 * place + 9, nats=value, n=100)
        for place, value in enumerate(nats)
    )
    estimate = Estimate(value=2.0, standard_error=0.01, n=10)
    return AtLength(factor=factor, length=10 * len(nats), estimate=estimate, positions=parts)


def with_lengths(record, *lengths: AtLength):
    metrics = record.metrics.model_copy(update={"lengths": lengths})
    return record.model_copy(update={"metrics": metrics})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    own = [
        with_lengths(
            record.model_copy(update={"evaluations": (evaluation(0.5 + 0.1 * record.seed),)}),
            along(1.0, 3.0),
            along(2.0, 3.0 + record.seed, 5.0),
        )
        for record in made("linear", "byte-lm", (2.0, 2.1))
    ]
    reference = [
        with_lengths(record, along(2.0, 1.0, 2.0)) for record in made("softmax", "byte-lm", (1.9,))
    ]
    alone = [
        record.model_copy(
            update={
                "evaluations": (
                    evaluation(0.3),
                    evaluation(4.0, metric="bits_per_byte", higher_is_better=False),
                    evaluation(1.0, harness="cab probe", task="all heads", standard_error=None),
                )
            }
        )
        for record in made("window", "byte-lm", (2.5,))
    ]
    folder = results_of(tmp_path, [*own, *reference, *alone])
    # `cab publish` leaves evaluations out, so these two files were written by hand.
    for one in (own, alone):
        path = results_file(folder, "quick", one[0].variant.name)
        write_lines(path, sorted(one, key=lambda record: record.key))
    return folder


def test_seeds_are_averaged_and_a_single_one_has_the_error_of_its_examples(results: Path):
    (one,) = gather(results).profiles
    (found,) = evaluated(one.records_of("linear"))
    assert (found.harness, found.task, found.trained) == ("lm-eval 0.4", "cab_recall 1", "byte-lm")
    assert found.mean.point == pytest.approx(0.55)
    assert (found.values, found.margin, found.n) == ((0.5, 0.6), None, 50)
    interval = found.mean.interval()
    assert interval is not None
    assert interval.low < 0.5 < 0.6 < interval.high
    alone = evaluated(one.records_of("window"))
    assert [(row.metric, row.arrow) for row in alone] == [
        ("acc", "\u2191"),
        ("acc", "\u2191"),
        ("bits_per_byte", "\u2193"),
    ]
    assert [row.margin for row in alone] == [None, *[pytest.approx(1.96 * 0.02)] * 2]


def test_weights_of_another_recipe_or_version_are_not_averaged_with_those(results: Path):
    (one,) = gather(results).profiles
    records = one.records_of("linear")
    recipe = {**records[0].settings.recipe, "evaluation_batch": 7}
    changes = (
        {"settings": records[0].settings.model_copy(update={"recipe": recipe})},
        {"task": records[0].task.model_copy(update={"version": records[0].task.version + 1})},
    )
    for changed in changes:
        found = evaluated([records[0].model_copy(update=changed), *records[1:]])
        assert sorted(row.values for row in found) == [(0.5,), (0.6,)]


def test_the_loss_by_position_is_of_the_longest_test_beside_the_reference(results: Path):
    content = gather(results)
    (shown,) = along_the_sequence(content, content.profiles[0], "linear")
    assert shown["task"] == "byte-lm"
    assert "at 2 times the training length" in shown["title"]
    assert ">linear</text>" in shown["drawing"]
    assert ">softmax</text>" in shown["drawing"]
    assert not along_the_sequence(content, content.profiles[0], "window")


def test_both_stand_on_the_page(results: Path, tmp_path: Path):
    build_site(results, tmp_path / "site")
    page = (tmp_path / "site" / "variants" / "linear.html").read_text()
    assert "Tests of the trained weights" in page
    assert "unchecked: <code>cab verify</code> refuses them" in page
    assert "0.55 <small>" in page
    assert "Loss along the sequence</h2>" in page
    other = (tmp_path / "site" / "variants" / "window.html").read_text()
    assert "\u00b1 0.039 over 50 examples of one seed" in other
    assert "Loss along the sequence" not in other
