"""lm-evaluation-harness measures what we measure, and generates what the model says."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from cli_support import DATA, cab_here, cells_of, make_record, needs_data, write_variant

from cab.errors import CabError
from cab.lm_evaluation import OWN, evaluate_tasks, own_tasks
from cab.lm_harness import ByteTokenizer, DecoderLM, HubTokenizer
from cab.records import Evaluation, RecordStore
from cab.registry import discover_tasks
from cab.trained import TrainedCell, build_model

TASKS = discover_tasks()
NOWHERE = Path("/nowhere")
TEXT = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(150)) + "é\n"
WINDOW = 32  # of byte-lm in smoke


class Bytes:
    """A stand-in for the text of byte-lm, so that no data is needed."""

    def __init__(self, cell):
        text = torch.tensor(list((TEXT * 4).encode()), dtype=torch.uint8)
        self.task = TASKS.load("byte-lm")(cell.recipe)
        self.task.__dict__["_text"] = {"train": text, "valid": text, "test": text}


def language_model(variant: str = "linear", include: Path | None = None, **options) -> DecoderLM:
    files = [] if include is None else [include]
    sizes = {"model.short_convolution": "3"}
    (cell,) = cells_of([variant], tasks=("byte-lm",), options=sizes, include=files)
    task = Bytes(cell).task
    model = build_model(cell, task)
    with torch.no_grad():  # an untrained model says one thing only
        model.embedding.weight.mul_(40)
    return DecoderLM(TrainedCell(cell, task, model), ByteTokenizer(), **options)


def asked(*arguments):
    return SimpleNamespace(args=arguments)


def log_likelihood(model, tokens: list[int], scored: int) -> float:
    """The last `scored` of some tokens, by a loop."""
    with torch.no_grad():
        logits = model(torch.tensor(tokens[:-1])[None])[0].double()
    rows = logits.log_softmax(dim=-1)
    return sum(rows[i - 1, tokens[i]].item() for i in range(len(tokens) - scored, len(tokens)))


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


def test_a_text_is_cut_into_windows_that_predict_each_byte_once():
    lm = language_model(max_length=20)
    tokens = [10, *TEXT.encode()]
    expected, done = 0.0, 0
    while done < len(tokens) - 1:
        count = min(20, len(tokens) - 1 - done)
        # The last window is as long as the others, or the text, and scores what is left.
        first = done if count == 20 else len(tokens) - 1 - 20
        expected += log_likelihood(lm.model, tokens[first : done + count + 1], count)
        done += count
    (found,) = lm.loglikelihood_rolling([asked(TEXT)])
    assert found == pytest.approx(expected, rel=1e-6)
    assert lm.loglikelihood_rolling([asked(""), asked(TEXT)]) == [0.0, pytest.approx(expected)]


def test_a_continuation_is_scored_after_its_context_in_any_batch():
    for batch_size in (1, 3):
        lm = language_model(batch_size=batch_size)
        requests = [("abc", "de"), ("", "xyz"), (TEXT[:100], "q"), ("b", "a" * 31), ("é", "ü")]
        found = lm.loglikelihood([asked(*request) for request in requests])
        for (context, continuation), (value, _) in zip(requests, found, strict=True):
            before = list(context.encode()) or [10]
            tokens = (before + list(continuation.encode()))[-WINDOW - 1 :]
            scored = len(continuation.encode())
            assert value == pytest.approx(log_likelihood(lm.model, tokens, scored), rel=1e-5)


def test_the_greedy_continuation_is_said_to_be_greedy():
    lm = language_model()
    (text,) = lm.generate_until([asked("abc", {"max_gen_toks": 1})])
    with torch.no_grad():
        best = lm.model(torch.tensor([list(b"abc")]))[0, -1].argsort(descending=True).tolist()
    assert lm.codec.decode(best[:1]) == text
    first, second = lm._loglikelihood_tokens(
        [(("", ""), list(b"abc"), best[:1]), (("", ""), list(b"abc"), best[1:2])]
    )
    assert (first[1], second[1]) == (True, False)
    assert first[0] > second[0]


@pytest.mark.parametrize("variant", ["softmax", "linear", "gla", "window"])
def test_generating_by_step_gives_what_recomputation_gives(variant):
    stepping, computing = (language_model(variant, by_step=one) for one in (True, False))
    prompts = ["the", "cat", "a longer prompt, cut at the left", ""]
    requests = [asked(prompt, {"max_gen_toks": 12, "until": []}) for prompt in prompts]
    texts = stepping.generate_until(requests)
    assert texts == computing.generate_until(requests)
    assert len({text[-3:] for text in texts}) > 1
    tokens = torch.tensor([list(b"some text of bytes"), list(b"other text of byte")])
    with torch.no_grad():
        one, two = stepping._stepping(tokens), computing._recomputing(tokens)
        pairs = [(next(one), next(two))]
        for _ in range(5):
            chosen = pairs[-1][0].argmax(dim=-1)
            pairs.append((one.send(chosen), two.send(chosen)))
    for logits, expected in pairs:
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_variant_without_a_state_is_computed_anew_and_one_with_a_state_is_not(tmp_path):
    delayed = "return torch.nn.functional.pad(v, (0, 0, 1, 0))[:, :, :-1]"
    path = write_variant(tmp_path, "delayed", delayed, patterns="cs")
    lm = language_model("delayed", include=path)
    assert not lm.by_step
    (text,) = lm.generate_until([asked("abc", {"max_gen_toks": 3})])
    tokens = list(b"abc")
    with torch.no_grad():
        for _ in range(3):
            tokens.append(int(lm.model(torch.tensor([tokens]))[0, -1].argmax()))
    assert text == lm.codec.decode(tokens[3:])
    assert language_model("linear").by_step


def test_an_answer_ends_before_the_first_text_that_ends_it():
    lm = language_model()
    (whole,) = lm.generate_until([asked("abc", {"max_gen_toks": 10})])
    end = whole[4]
    (cut,) = lm.generate_until([asked("abc", {"max_gen_toks": 10, "until": [end, "never"]})])
    assert cut == whole[: whole.index(end)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"do_sample": True}, "greedily"),
        ({"temperature": 0.7}, "greedily"),
        ({"max_gen_toks": 32}, "--max-length"),
    ],
)
def test_what_the_model_cannot_do_is_refused(options, said):
    with pytest.raises(CabError, match=said):
        language_model().generate_until([asked("abc", options)])


def test_a_continuation_longer_than_the_model_takes_is_refused():
    with pytest.raises(CabError, match=r"33 tokens.*--max-length"):
        language_model().loglikelihood([asked("a", "b" * 33)])


@pytest.mark.parametrize(("task", "said"), [("mqar", "16 tokens"), ("digits", "no decoder")])
def test_a_model_of_something_else_is_refused(task, said):
    (cell,) = cells_of(["softmax"], tasks=(task,))
    made = TASKS.load(task)(cell.recipe)
    with pytest.raises(CabError, match=said):
        DecoderLM(TrainedCell(cell, made, build_model(cell, made)), ByteTokenizer())


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
def test_an_unknown_task_is_refused_with_those_there_are():
    with pytest.raises(CabError, match=r"no task no_such_task.*cab_wikitext2"):
        evaluate_tasks(language_model(), ["no_such_task"], NOWHERE)


def test_data_that_is_not_here_is_said():
    with pytest.raises(CabError, match=r"cab data fetch wikitext-2"):
        evaluate_tasks(language_model(), ["cab_wikitext2"], NOWHERE)


def test_a_hub_tokenizer_is_read_from_its_file(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<eos>": 0, "hello": 1, "world": 2}
    fast = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.save(str(tmp_path / "tokenizer.json"))
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        tokenizer = HubTokenizer(str(name))
        assert tokenizer.encode("world hello") == [2, 1]
        assert tokenizer.decode([1, 2]) == "hello world"
        assert (tokenizer.vocabulary, tokenizer.prefix, tokenizer.end) == (3, 0, 0)
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "endless.json"))
    with pytest.raises(CabError, match="none of the tokens that end a text"):
        HubTokenizer(str(tmp_path / "endless.json"))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CabError, match="cannot be read"):
        HubTokenizer(str(tmp_path / "broken.json"))


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
    assert "elsewhere: cab_recall acc" in shown.out
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
