"""Published tables with own results: columns, units, means over tasks, and CAB's index by hand."""

import csv
import hashlib
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from cli_support import cab_here, make_record
from support import REPOSITORY

from cab.commands.common.suites import to_text
from cab.errors import UnknownName
from cab.records.store import Estimate, Metrics, RecordStore, TaskInfo
from cab.registry import discover_tasks
from cab.scores.reference import read_reference
from cab.scores.suites import suite_tables
from cab.taxonomy import of_suite

TASKS = discover_tasks()
REFERENCES = read_reference(REPOSITORY / "results")


def result(task, seed=0, profile="full", minutes=0, version=None, **metrics):
    """A record of a task with these test values."""
    card = TASKS.card(task)
    values = {
        name: Estimate(value=value, standard_error=0.0, n=9) for name, value in metrics.items()
    }
    record = make_record(
        hashlib.sha256(repr((task, seed, profile, minutes)).encode()).hexdigest()[:32],
        seed=seed,
        minutes=minutes,
        metrics=Metrics(test=values),
        metric=card.metric,
    )
    own_task = TaskInfo(
        name=task,
        version=version or card.version,
        profile=profile,
        pattern=card.pattern,
        domain=card.domain,
        metric=card.metric,
        higher_is_better=card.higher_is_better,
    )
    return record.model_copy(update={"task": own_task})


def tables(suite, *records, profile="full"):
    return suite_tables(suite, of_suite(TASKS.cards(), suite), records, REFERENCES, profile)


def own(table, entry="softmax"):
    (row,) = [row for row in table.rows if not row.published and row.entry == entry]
    return dict(zip([one.name for one in table.columns], row.values, strict=True)), row.index


def test_the_published_tables_stand_in_the_paper_s_order():
    ns, cs, nc, cc = tables("cab")
    assert [one.name for one in cs.columns] == [
        "Transformer-TTS MCD",
        "Transformer-TTS MSD",
        "ROUGE-1",
        "ROUGE-2",
        "ROUGE-L",
        "PPL",
    ]
    assert [one.published for one in ns.columns] == [True] * 10 + [False] * 9
    assert all(one.published for table in (cs, nc, cc) for one in table.columns)
    first = ns.rows[0]
    assert first.entry == "vanilla"
    assert first.values[:10] == (
        3.4748,
        1.9735,
        4.0953,
        2.1985,
        34.61,
        6.35,
        31.66,
        23.18,
        0.675,
        3.42,
    )
    assert first.index["index"] == -0.024
    (lra,) = tables("lra")
    assert [one.name for one in lra.columns] == [
        "ListOps",
        "Text",
        "Retrieval",
        "Image",
        "Pathfinder",
        "Path-X",
    ]
    assert lra.rows[0].index == {"average": 46.06}
    assert any("2011.04006" in note for note in lra.notes)


def test_ecl_and_weather_stand_under_their_right_names():
    nc = tables("cab")[2]
    vanilla = dict(zip([one.name for one in nc.columns], nc.rows[0].values, strict=True))
    # The published workbook: Weather .478 and .508, ECL .449 and .486 for softmax.
    assert (vanilla["Weather MSE"], vanilla["ECL MSE"]) == (0.478, 0.449)
    assert any("exchanged" in note for note in nc.notes)


def test_a_column_is_the_mean_over_seeds_and_tasks_and_empty_before_each_has_a_result():
    names = [
        f"forecast-{series}-{kind}-nc"
        for series in ("etth1", "etth2", "ettm1")
        for kind in ("uni", "multi")
    ]
    records = [
        result(name, seed, mse=at + seed / 10, mae=1.0)
        for at, name in enumerate(names)
        for seed in (0, 1)
    ]
    values, _ = own(tables("cab", *records)[2])
    assert values["ETT MSE"] == pytest.approx(2.5 + 0.05)
    assert values["ETT MAE"] == 1
    assert values["ECL MSE"] is None
    few = tables("cab", *records[:4])[2]
    assert all(row.published for row in few.rows)
    assert "softmax: ETT MSE has results on 2 of 6 tasks." in few.notes


def test_a_perplexity_is_the_exponential_of_the_mean_and_an_accuracy_in_per_cent():
    values, _ = own(tables("cab", result("lm", log_perplexity=math.log(20)))[1])
    assert values["PPL"] == pytest.approx(20)
    names = ("listops", "text", "match", "image", "pathfinder")
    records = [result(f"{name}-lra", accuracy=0.1 * at) for at, name in enumerate(names)]
    (lra,) = tables("lra", *records)
    values, index = own(lra)
    assert values["Image"] == pytest.approx(30)
    assert values["Path-X"] is None
    # As published, the average is over the five tasks that anybody solved.
    assert index["average"] == pytest.approx(20)
    (less,) = tables("lra", *records[:4])
    assert own(less)[1]["average"] is None


def test_the_index_of_own_results_is_cab_s_by_hand():
    speech = result("tts-transformer-ljspeech-cc", mcd=5.0, msd=2.5)
    summary = result("summarise-cc", rouge_1=33.0, rouge_2=6.0, rouge_l=30.0)
    index = own(tables("cab", speech, summary)[3])[1]
    tts = (-(5.0 - 5.5037) / 1.29239 - (2.5 - 2.6278) / 0.42726) / 2
    texts = ((33 - 31.35) / 3.77103 + (6 - 5.26) / 1.26028 + (30 - 28.8) / 3.28638) / 3
    assert index["TTS"] == pytest.approx(tts, abs=1e-6)
    assert index["Sum"] == pytest.approx(texts, abs=1e-6)
    assert index["index"] == pytest.approx((tts + texts) / 2, abs=1e-6)
    assert own(tables("cab", speech)[3])[1]["index"] is None


def test_other_profiles_versions_and_failed_cells_do_not_count():
    wrong = (
        result("lm", profile="standard", log_perplexity=1.0),
        result("lm", seed=1, version=1, log_perplexity=1.0),
        make_record("f" * 32, status="oom"),
    )
    assert all(row.published for row in tables("cab", *wrong)[1].rows)
    newest = result("lm", seed=0, minutes=5, log_perplexity=math.log(7))
    values, _ = own(tables("cab", *wrong, newest)[1])
    assert values["PPL"] == pytest.approx(7)


def test_the_sizes_of_s4_have_lra_s_columns_and_no_published_rows():
    (table,) = tables("lra-s4", result("text-s4", accuracy=0.5))
    assert [one.name for one in table.columns] == list(dict.fromkeys(
        one.name for one in tables("lra")[0].columns
    ))  # fmt: skip
    assert [row.entry for row in table.rows] == ["softmax"]
    assert own(table)[0]["Text"] == 50


def test_an_unknown_suite_is_refused_with_those_that_there_are(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match=r"no suite called 'cap'\. Did you mean cab\?"):
        of_suite(TASKS.cards(), "cap")
    for command in (
        ("list", "tasks", "--suite", "glue"),
        ("run", "--variant", "softmax", "--suite", "glue", "--dry-run"),
        ("sweep", "--variant", "softmax", "--suite", "glue", "--dry-run"),
        ("report", "--suite", "glue"),
    ):
        said = cab_here(*command)
        assert said.code == 2, command
        assert "There is no suite called 'glue'. Known: cab, lra, lra-s4." in said.err
    assert cab_here("list", "variants", "--suite", "cab").code == 2


def test_the_commands_select_a_suite_and_report_its_tables(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("run", "--suite", "cab", "--dry-run", "--json")
    said = cab_here(*asked, "--variant", "abc")
    cells = json.loads(said.out)["cells"]
    assert {cell["task"] for cell in cells} == {
        card.name for card in of_suite(TASKS.cards(), "cab")
    }
    causal = cab_here(*asked, "--variant", "linear", "--pattern", "cs")
    found = {cell["task"] for cell in json.loads(causal.out)["cells"]}
    assert found == {"lm", "summarise-cs", "tts-transformer-ljspeech-cs"}
    listed = json.loads(cab_here("list", "tasks", "--suite", "lra", "--json").out)
    assert len(listed) == 6
    store = RecordStore(tmp_path / "runs")
    store.write(result("lm", log_perplexity=math.log(20)))
    report = (
        "report",
        "--suite",
        "cab",
        "--store",
        "runs",
        "--results",
        str(REPOSITORY / "results"),
    )
    table = cab_here(*report).out
    assert "| softmax | - | - | - | - | - | 20.00 | - | - | 0.272 | - |" in table
    assert "| LongShort (published) |" in table
    for form, start in (("csv", "table,entry"), ("latex", "% CAB: ns"), ("json", "[")):
        assert cab_here(*report, "--format", form).out.startswith(start)


def test_a_report_of_a_suite_runs_nothing_in_a_spreadsheet_or_in_latex():
    name = "=cmd|' /c calc'!A0 \\input{x} & 5%"
    (row,) = [row for row in tables("lra", result("text-lra", accuracy=0.5))[0].rows
              if not row.published]  # fmt: skip
    table = replace(tables("lra")[0], rows=(replace(row, entry=name),))
    _, line = csv.reader(io.StringIO(to_text([table], "csv")))
    assert line[1] == "'" + name
    assert line[2 + [one.name for one in table.columns].index("Text")] == "50.0"
    assert r"\textbackslash{}input\{x\} \& 5\%" in to_text([table], "latex")
    assert r"=cmd\|" in to_text([table], "md")
