"""Evaluations of one task in several settings stay apart in records, tables, means and MLflow."""

import itertools
import json

import pytest
from made_records import made

from cab.records.evaluations import identity, measurements, replaced, title, told
from cab.records.store import Evaluation, RecordStore
from cab.scores.summary import summarise
from cab.site.weights import evaluated
from cab.tracking.runs import metrics

SETTINGS = {"max_length": 32, "tokenizer": "bytes", "limit": None, "few_shot": 0}


def evaluation(value: float = 0.5, **changes) -> Evaluation:
    settings = {**SETTINGS, **changes.pop("settings", {})}
    known = {
        "harness": "lm-eval", "harness_version": "0.4.13", "task": "cab_recall", "metric": "acc",
        "task_version": "1", "higher_is_better": True, "value": value, "n": 10,
    }  # fmt: skip
    return Evaluation(**{**known, **changes}, settings=settings)


def seeds(*evaluations: tuple[Evaluation, ...]):
    """The records of some seeds of one entry, with the evaluations of each."""
    records = made("linear", "byte-lm", (2.0, 2.1, 2.2)[: len(evaluations)])
    return [
        record.model_copy(update={"evaluations": own})
        for record, own in zip(records, evaluations, strict=True)
    ]


def test_settings_are_written_by_name_without_those_that_are_not_set():
    one = evaluation(settings={"limit": 10})
    assert told(one) == "few_shot 0, limit 10, max_length 32, tokenizer bytes"
    assert told(evaluation()) == "few_shot 0, max_length 32, tokenizer bytes"
    assert title(one) == f"cab_recall acc ({told(one)})"
    assert title(one.model_copy(update={"settings": {}})) == "cab_recall acc"


def test_settings_are_the_same_in_any_order_and_none_is_not_set():
    one = evaluation()
    for names in itertools.permutations(one.settings):
        again = one.model_copy(update={"settings": {name: one.settings[name] for name in names}})
        assert identity(again) == identity(one)
    left_out = {name: value for name, value in SETTINGS.items() if value is not None}
    assert identity(one.model_copy(update={"settings": left_out})) == identity(one)
    for changes in ({"limit": 10}, {"few_shot": 1}, {"tokenizer": "32"}, {"max_length": "32"}):
        assert identity(evaluation(settings=changes)) != identity(one)


def test_a_repeated_evaluation_replaces_the_one_of_a_record_read_from_its_file(tmp_path):
    # The file has the settings sorted by name, the harness gives them in another order.
    store, (record,) = RecordStore(tmp_path), seeds((evaluation(0.5),))
    store.write(record)
    reversed_ = dict(reversed(evaluation().settings.items()))
    again = evaluation(0.75).model_copy(update={"settings": reversed_})
    limited = evaluation(0.25, settings={"limit": 4})
    store.add_evaluations(record.key, [again, limited])
    kept = store.read(record.key)
    assert [one.value for one in kept.evaluations] == [0.75, 0.25]
    assert replaced(kept.evaluations, [again])[-1] == again
    assert len(replaced(kept.evaluations, [again])) == 2


def test_means_over_seeds_are_of_one_setting_each():
    limited = {"settings": {"limit": 10}}
    records = seeds(
        (evaluation(0.2), evaluation(0.9, **limited)),
        (evaluation(0.5, **limited), evaluation(0.4)),
        (evaluation(0.6),),
    )
    (row,) = summarise(records)
    full, few = title(evaluation()), title(evaluation(**limited))
    assert row.evaluations == {full: pytest.approx(0.4), few: pytest.approx(0.7)}
    shown = {one.settings: (one.values, one.mean.point) for one in evaluated(records)}
    assert shown == {
        told(evaluation()): ((0.2, 0.4, 0.6), pytest.approx(0.4)),
        told(evaluation(**limited)): ((0.9, 0.5), pytest.approx(0.7)),
    }


@pytest.mark.parametrize("field", ["harness_version", "task_version", "harness"])
def test_means_over_seeds_are_of_one_version_each(field):
    records = seeds((evaluation(0.2),), (evaluation(0.4, **{field: "2"}),), (evaluation(0.6),))
    (row,) = summarise(records)
    assert sorted(row.evaluations.values()) == pytest.approx([0.4, 0.4])
    assert len(row.evaluations) == len(evaluated(records)) == 2


def test_settings_that_are_written_alike_are_two_means():
    records = seeds(
        (evaluation(0.2, settings={"few_shot": 1}), evaluation(0.4, settings={"few_shot": "1"}))
    )
    (row,) = summarise(records)
    assert sorted(row.evaluations.values()) == [0.2, 0.4]
    assert len(evaluated(records)) == 2


def test_a_seed_counts_once_in_a_mean_though_its_record_holds_a_repetition():
    records = seeds((evaluation(0.1), evaluation(0.5)), (evaluation(0.7),))
    ((first, second),) = measurements(records)
    assert (first[1].value, second[1].value) == (0.5, 0.7)
    (row,) = summarise(records)
    assert list(row.evaluations.values()) == [pytest.approx(0.6)]
    assert [one.values for one in evaluated(records)] == [(0.5, 0.7)]


def names_of(*evaluations: Evaluation) -> list[str]:
    (record,) = seeds(evaluations)
    return [name for name, _, _ in metrics(record) if name.startswith("evaluation")]


def test_a_metric_of_mlflow_has_one_name_for_one_setting_in_every_run():
    full, few = evaluation(), evaluation(settings={"limit": 10})
    expected = "evaluation_cab_recall_acc_few_shot_0_max_length_32_tokenizer_bytes"
    assert names_of(full) == [expected]
    assert names_of(few) == [expected.replace("_max", "_limit_10_max")]
    assert names_of(few, full) == names_of(few) + names_of(full)
    slash, line = (evaluation(settings={"tokenizer": name}) for name in ("a/b", "a_b"))
    assert names_of(slash) != names_of(line)
    assert names_of(slash, line) == names_of(slash) + names_of(line)
    wide = evaluation(settings={name * 50: "x" * 90 for name in "abcd"})
    assert len(names_of(wide)[0]) <= 250
    assert json.dumps(names_of(wide)) != json.dumps(names_of(evaluation(settings={"e" * 50: 1})))
