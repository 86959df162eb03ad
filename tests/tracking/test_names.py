"""Names and texts as MLflow accepts them, judged by MLflow's own validation."""

import pytest
from cli_support import make_record
from hypothesis import given
from hypothesis import strategies as st
from levelled_records import at_levels
from mlflow.entities import Metric
from mlflow.utils import validation

from cab.records.store import Estimate, Evaluation
from cab.records.text import one_line, tidy
from cab.tracking.names import CUT, Limits, cut, distinct, lasting, plain
from cab.tracking.runs import _batches, metrics, params

AWKWARD = ["", ".", "..", "/", "a//b", "../x", "a/./b", "a\n", "\x00", " ", "'", "x" * 400, "_"]
TEXTS = st.text(st.characters(), max_size=40) | st.sampled_from(AWKWARD)


def test_the_limits_are_those_of_the_installed_mlflow() -> None:
    limits = Limits.of_mlflow()
    assert limits.name == validation.MAX_ENTITY_KEY_LENGTH
    assert limits.param == validation.MAX_PARAM_VAL_LENGTH
    assert limits.tag == validation.MAX_TAG_VAL_LENGTH
    assert limits.metrics_at_once == validation.MAX_METRICS_PER_BATCH
    assert limits.params_at_once == validation.MAX_PARAMS_TAGS_PER_BATCH


@given(TEXTS)
def test_mlflow_accepts_every_plain_name(text: str) -> None:
    for name in (plain(text), lasting(text)):
        assert name
        validation._validate_metric(name, 0.5, 1, 0)
        validation._validate_param(name, "value")
        validation._validate_tag(name, "value")
    assert plain(plain(text)) == plain(text)


@given(st.lists(TEXTS, unique=True, max_size=8), st.sampled_from([20, 250]))
def test_different_things_keep_different_names(texts: list[str], limit: int) -> None:
    names = distinct(((text, text) for text in texts), limit)
    assert sorted(names) == sorted(texts)
    assert len(set(names.values())) == len(texts)
    assert all(0 < len(name) <= limit for name in names.values())
    backwards = distinct(((text, text) for text in reversed(texts)), limit)
    assert backwards == names


def test_a_name_is_changed_no_more_than_needed() -> None:
    assert plain("shortcut_first digit's place") == "shortcut_first_digit_s_place"
    assert plain("evaluation_arc_acc,none") == "evaluation_arc_acc_none"
    assert lasting("3f2a-11") == "3f2a-11"
    names = distinct([(1, "a_b"), (2, "a b"), (3, "a'b"), (4, "c")])
    assert (names[1], names[4]) == ("a_b", "c")
    assert names[2].startswith("a_b-")
    assert names[3].startswith("a_b-")
    long = plain("x" * 400)
    assert len(long) == 250
    assert long != plain("x" * 401)


@given(st.text(st.characters(), max_size=60), st.integers(min_value=50, max_value=55))
def test_a_cut_text_is_marked_and_no_longer_than_allowed(text: str, limit: int) -> None:
    shorter = cut(text, limit)
    assert len(shorter) <= limit
    assert shorter == tidy(text) or shorter.endswith(CUT)
    shorter.encode()  # no lone surrogate is left
    assert "\x00" not in shorter
    assert "\x1b" not in one_line(text)


def test_two_sources_of_one_name_are_told_apart_in_a_record() -> None:
    half = Estimate(value=0.5, standard_error=0.25, n=4)
    evaluation = Evaluation(
        harness="lm-eval",
        harness_version="1",
        task="arc",
        task_version="1",
        metric="acc",
        higher_is_better=True,
        value=0.1,
        n=10,
    )
    more = evaluation.model_copy(update={"value": 0.2, "settings": {"few_shot": 5}})
    test = {"accuracy": half, "accuracy_standard_error": half}
    record = make_record(
        metrics={"test": test},
        shortcuts={"a b": half, "a_b": half, "a'b": half},
        evaluations=(evaluation, more),
        options={"a.b": 1, "a": {"b": 2}},
    )
    found = [name for name, _, _ in metrics(record)]
    assert len(found) == len(set(found)) == 4 + 3 + 2 + 2  # and the two costs
    assert {"test_accuracy", "shortcut_a_b", "cost_steps"} <= set(found)
    settings = params(record, Limits())
    assert sorted(v for k, v in settings.items() if k.startswith("variant.a.b")) == ["1", "2"]


def test_a_request_keeps_within_mlflows_size() -> None:
    entries = [Metric("\N{GREEK SMALL LETTER ALPHA}" * 250, 0.5, 1, n) for n in range(900)]
    batches = list(_batches(entries, 1000, 1_000_000))
    assert [one for batch in batches for one in batch] == entries
    assert len(batches) > 1
    assert len(list(_batches(entries[:20], 7, 1_000_000))) == 3
    assert list(_batches([], 7, 100)) == []


@pytest.mark.parametrize("text", ["wrong.", "wrong..", " wrong. \nmore", "\n\nwrong"])
def test_a_reason_fits_into_a_sentence(text: str) -> None:
    assert one_line(text) == "wrong"


def test_each_level_has_a_metric_of_its_own() -> None:
    record = make_record(metrics=at_levels((1.0, 0.5)))
    found = {name: (value, step) for name, value, step in metrics(record)}
    assert found["test_accuracy_level_1"] == (1.0, 4)
    assert found["test_accuracy_level_2"] == (0.5, 4)
    assert found["test_accuracy"] == (0.75, 4)
