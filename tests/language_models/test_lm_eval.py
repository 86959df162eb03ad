"""lm-evaluation-harness measures what we measure, and its scores join the records."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from cli_support import DATA, cab_here, cells_of, make_record, needs_data
from language_models import TEXT, WINDOW, Bytes, language_model

from cab.errors import CabError
from cab.language_models.lm_evaluation import OWN, evaluate_tasks, own_tasks
from cab.records.store import Evaluation, RecordStore

NOWHERE = Path("/nowhere")
DOCUMENTS = """import json
import pathlib
from datasets import Dataset


def texts(**_):
    rows = json.loads((pathlib.Path(__file__).parent / "texts.json").read_text())
    return {"test": Dataset.from_list([{"page": text} for text in rows])}
"""
TASK = """task: own_text
custom_dataset: !function documents.texts
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{page}}"
metric_list:
  - metric: bits_per_byte
metadata:
  version: 3.0
"""


def test_bits_per_byte_through_lm_eval_are_those_of_our_own_task(tmp_path):
    lm = language_model()
    text = TEXT[: 4 * WINDOW]
    (tmp_path / "documents.py").write_text(DOCUMENTS)
    (tmp_path / "texts.json").write_text(json.dumps([text]))
    (tmp_path / "own_text.yaml").write_text(TASK)
    (found,) = evaluate_tasks(lm, ["own_text"], NOWHERE, include=[tmp_path])
    (cell,) = cells_of(["linear"], tasks=("byte-lm",))
    windows = torch.tensor(list(("\n" + text).encode()))
    starts = torch.arange(4)[:, None] * WINDOW + torch.arange(WINDOW + 1)
    batch = {"inputs": windows[starts][:, :-1], "targets": windows[starts][:, 1:]}
    with torch.no_grad():
        ours = Bytes(cell).task.evaluate(lm.model, batch)["bits_per_byte"].double().mean().item()
    assert found.metric == "bits_per_byte"
    assert found.value == pytest.approx(ours, abs=1e-4)
    assert found.value == pytest.approx(ours, rel=1e-6)
    assert (found.task, found.task_version, found.n) == ("own_text", "3.0", 1)
    assert found.harness == "lm-eval"
    assert not found.higher_is_better


def test_the_generated_questions_are_answered_by_their_own_text(monkeypatch):
    found = {}
    lm = language_model(max_length=64)

    def right(requests, disable_tqdm=False):
        scores = []
        for request in requests:
            question, digit = request.args
            told, _, letter = question.rpartition("\n")
            found[question] = answer = _answer(told, letter)
            scores.append((0.0 if digit == answer else -1.0, digit == answer))
        return scores

    monkeypatch.setattr(lm, "loglikelihood", right)
    (result,) = evaluate_tasks(lm, ["cab_recall"], NOWHERE, limit=40)
    assert result.value == 1.0
    assert len(set(found.values())) > 5
    assert result.standard_error == 0.0


def _answer(told: str, letter: str) -> str:
    return {pair[0]: pair[1] for pair in told.split()}[letter]


def test_own_tasks_run_without_a_network_and_say_what_they_were_told():
    assert own_tasks() == ["cab_recall", "cab_recall_written", "cab_wikitext2"]
    assert (OWN / "cab_recall.yaml").is_file()
    found = evaluate_tasks(
        language_model(), ["cab_recall", "cab_recall_written"], NOWHERE, limit=7
    )
    assert [(one.task, one.metric, one.n) for one in found] == [
        ("cab_recall", "acc", 7),
        ("cab_recall_written", "exact_match", 7),
    ]
    for one in found:
        assert 0 <= one.value <= 1
        assert one.settings["limit"] == 7
        assert one.settings["max_length"] == WINDOW
        assert one.settings["tokenizer"] == "bytes"


def test_a_group_of_tasks_is_scored_over_the_examples_of_its_members(tmp_path):
    (tmp_path / "both.yaml").write_text(
        "group: both\n"
        "task: [cab_recall]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
        "metadata: {version: 2.0}\n"
    )
    found = evaluate_tasks(language_model(), ["both"], NOWHERE, include=[tmp_path], limit=7)
    assert {(one.task, one.metric, one.n) for one in found} == {
        ("both", "acc", 7),
        ("cab_recall", "acc", 7),
    }
    assert len({one.value for one in found}) == 1


@needs_data
def test_real_articles_are_scored_byte_by_byte():
    lm = language_model(max_length=200)
    found = evaluate_tasks(lm, ["cab_wikitext2"], Path(DATA), limit=2)
    values = {one.metric: one.value for one in found}
    text = Path(DATA, "wikitext-2", "test.txt").read_text(encoding="utf-8")
    titles = ("Robert <unk>", "Du Fu", "Kiss You ( One Direction song )")
    first, second, third = (text.index(f" = {title} = \n") for title in titles)
    nats = total = 0.0
    for page in (text[first:second], text[second:third]):
        tokens = [10, *page.encode()]
        for done in range(0, len(tokens) - 1, 200):
            window = tokens[done : done + 201]
            if len(window) < 201:
                window = tokens[-201:]
            scored = min(200, len(tokens) - 1 - done)
            with torch.no_grad():
                rows = lm.model(torch.tensor(window[:-1])[None])[0]
            target = torch.tensor(window[1:])
            nats += F.cross_entropy(rows, target, reduction="none")[-scored:].double().sum().item()
        total += len(tokens) - 1
    assert values["bits_per_byte"] == pytest.approx(nats / total / math.log(2), abs=1e-4)


@pytest.mark.slow  # lm-eval reads thousands of files of its own
def test_a_task_that_lacks_a_package_is_said(monkeypatch):
    def lacking(*_, **__):
        raise ImportError("no package called sacrebleu")

    monkeypatch.setattr("cab.language_models.lm_evaluation.simple_evaluate", lacking)
    with pytest.raises(CabError, match="no package called sacrebleu"):
        evaluate_tasks(language_model(), ["cab_recall"], NOWHERE)


def test_an_unknown_task_is_refused_with_those_there_are():
    with pytest.raises(CabError, match=r"no task no_such_task.*cab_wikitext2"):
        evaluate_tasks(language_model(), ["no_such_task"], NOWHERE)


def test_data_that_is_not_here_is_said():
    with pytest.raises(CabError, match=r"cab data fetch wikitext-2"):
        evaluate_tasks(language_model(), ["cab_wikitext2"], NOWHERE)


def evaluation(**changes) -> Evaluation:
    one = Evaluation(
        harness="lm-eval",
        harness_version="0.4.9",
        task="cab_recall",
        task_version="1",
        metric="acc",
        higher_is_better=True,
        value=0.5,
        n=4,
        settings={"limit": 4},
    )
    return one.model_copy(update=changes)


def test_scores_join_the_record_and_replace_those_of_before(tmp_path):
    store, record = RecordStore(tmp_path), make_record("1" * 32)
    assert store.add_evaluations(record.key, [evaluation()]) is None
    store.write(record)
    store.add_evaluations(record.key, [evaluation(), evaluation(settings={"limit": 9})])
    store.add_evaluations(record.key, [evaluation(value=0.75, harness_version="0.4.10")])
    kept = store.read(record.key)
    assert [(one.value, one.settings["limit"]) for one in kept.evaluations] == [
        (0.5, 9),
        (0.75, 4),
    ]
    assert kept.model_copy(update={"evaluations": ()}) == record


@needs_data
@pytest.mark.slow
def test_the_command_trains_once_scores_and_stores(tmp_path):
    arguments = ("lm-eval", "--variant", "linear", "--tasks", "cab_recall", "--limit", "5")
    arguments += ("--profile", "smoke", "--unchecked", "--store", tmp_path, "--data-dir", DATA)
    first = cab_here(*arguments, "--json")
    assert first.code == 0, first.err
    document = first.document
    assert document["stored"]
    key = document["key"]
    record = RecordStore(tmp_path).read(key)
    assert [one.model_dump(mode="json") for one in record.evaluations] == document["evaluations"]
    again = cab_here(*arguments)
    assert again.code == 0, again.err
    assert "cab_recall" in again.out
    ended = RecordStore(tmp_path).read(key).provenance.ended
    assert ended == record.provenance.ended, "it was trained again"
    shown = cab_here("show", "linear", "--profile", "smoke", "--store", tmp_path)
    assert "other evaluations: cab_recall acc" in shown.out
    arguments = (
        *arguments[:-2],
        "--checkpoint",
        tmp_path / "checkpoints",
        "--store",
        tmp_path / "b",
    )
    other = cab_here(*arguments, "--json", CAB_DATA=DATA)
    assert other.code == 0, other.err
    assert other.document["evaluations"] == document["evaluations"]
    assert not other.document["stored"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "def texts(**_):\n    return 1 / 0\n",
        "def texts(**_):\n    return {}.missing\n",
        "raise ZeroDivisionError('no')\n",
        "def texts(**_):\n    from datasets import Dataset\n"
        "    def rows():\n        yield {'page': 1 / 0}\n"
        "    return {'test': Dataset.from_generator(rows)}\n",
    ],
    ids=["a function", "an attribute", "the file", "in datasets"],
)
def test_a_task_whose_code_fails_is_a_sentence_with_its_line(code, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "documents.py").write_text(code)
    (folder / "own_text.yaml").write_text(TASK)
    with pytest.raises(CabError, match=r"lm-eval failed on own_text") as refused:
        evaluate_tasks(language_model(), ["own_text"], NOWHERE, include=[folder])
    assert "documents.py, line" in str(refused.value)


@needs_data
def test_a_score_that_is_not_finite_is_a_sentence():
    lm = language_model()
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(CabError, match=r"cab_wikitext2 gives .* = (nan|inf).*train it again"):
        evaluate_tasks(lm, ["cab_wikitext2"], Path(DATA), limit=1)
