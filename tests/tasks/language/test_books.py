"""The tasks of the language domain on published sets, from small files of the same form."""

import base64
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from published_support import write_parquet
from task_support import softmax_slots

from cab.backbones.slots import Width
from cab.data import DATA_SETS
from cab.registry import discover_tasks
from cab.seeding import generator
from cab.tasks.language import _books, _summarise, lm, mlm_long
from cab.tasks.language._books import END, Windows, tokenised, tokeniser
from cab.tasks.language._summarise import Texts

TASKS = discover_tasks()
PAIRS = [b"th", b"the", b"in"]
BOOKS = {
    "train": ["the end in the beginning, " * 9, "too short", "in the middle of it all. " * 7],
    "validation": ["the thin thing in the inn; " * 8],
    "test": ["in the end the end is thin! " * 8],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A data directory with PG-19, Multi-News and byte pairs, all very small."""
    import datasets

    root = tmp_path_factory.mktemp("books")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
        (root / "gpt2-bpe").mkdir()
        ranks = [bytes([one]) for one in range(256)] + PAIRS
        (root / "gpt2-bpe" / "r50k_base.tiktoken").write_bytes(
            b"".join(base64.b64encode(pair) + b" %d\n" % rank for rank, pair in enumerate(ranks))
        )
        for part, texts in BOOKS.items():
            books = {"text": texts, "url": ["x"] * len(texts)}
            write_parquet(root / "pg19" / "data" / f"{part}-0.parquet", books)
            news = {"document": [text + " ||||| more" for text in texts], "summary": texts}
            write_parquet(root / "multi_news" / "default" / part / "0.parquet", news)
        yield root
        for cached in (tokeniser, lm._windows, mlm_long._windows, _summarise._pairs):
            cached.cache_clear()


def made(name, data, directory, **model):
    task_class = TASKS.load(name)
    recipe = task_class.recipes["standard"]
    width = Width(dim=8, heads=2, layers=1)
    small = replace(recipe.model, width=width, **model)
    return task_class(replace(recipe, data=data, model=small), directory)


def expected_tokens(text):
    """Byte pairs merged by hand, the lowest rank first, within the words that GPT-2 splits."""
    tokens = [bytes([one]) for one in text.encode()]
    for pair in ((b"t", b"h"), (b"th", b"e"), (b"i", b"n")):
        at = 0
        while at < len(tokens) - 1:
            if (tokens[at], tokens[at + 1]) == pair:
                tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]
            at += 1
    ranks = {bytes([one]): one for one in range(256)} | {p: 256 + at for at, p in enumerate(PAIRS)}
    return [ranks[token] for token in tokens]


def test_the_published_sets_have_the_columns_and_files_that_the_tasks_read():
    assert set(_books.PARTS.values()) == set(DATA_SETS["pg19"].parts)
    assert set(_books.PARTS.values()) == set(DATA_SETS["multi-news"].parts)
    assert DATA_SETS["gpt2-bpe"].files == "r50k_base.tiktoken"


def test_text_becomes_the_byte_pairs_of_the_file_and_back(directory):
    encoding = tokeniser(directory)
    for text in BOOKS["train"]:
        assert encoding.encode_ordinary(text) == expected_tokens(text)
        assert encoding.decode(expected_tokens(text)) == text


def test_windows_follow_each_other_within_books_and_leave_the_rest_out(directory):
    windows = Windows("pg19", directory, "train", 20)
    expected = []
    for text in BOOKS["train"]:
        tokens = expected_tokens(text)
        edges = range(0, len(tokens) + 1, 20)
        expected += [tokens[start:end] for start, end in pairwise(edges)]
    assert len(windows) == len(expected)
    assert len(expected) > 10
    assert windows.read(torch.arange(len(windows))).tolist() == expected
    spread = windows.draw("test", 3, generator("any")).tolist()
    assert spread == [expected[0], expected[(len(expected) - 1) // 2], expected[-1]]


def test_a_column_is_cut_where_it_is_told(directory):
    cut = tokenised("multi-news", directory, "test", {"document": 5, "summary": 0})
    (row,) = list(cut)
    assert row["document"].tolist() == expected_tokens(BOOKS["test"][0])[:5]
    assert row["summary"].tolist() == expected_tokens(BOOKS["test"][0])
    assert (row["document_length"], row["summary_length"]) == (5, len(row["summary"]))


def test_lm_predicts_the_next_token_of_a_book_and_ties_its_head(directory):
    task = made("lm", lm.Length(12), directory, length=12)
    batch = task.draw("train", 9, generator("lm"))
    assert batch["inputs"].shape == batch["targets"].shape == (9, 12)
    assert torch.equal(batch["inputs"][:, 1:], batch["targets"][:, :-1])
    model = task.build(softmax_slots("cs"))
    assert model.head.weight is model.embedding.weight
    nats = task.evaluate(model, batch)["log_perplexity"]
    assert nats.mean().item() == pytest.approx(task.loss(model, batch).item(), rel=1e-5)


def test_mlm_long_is_tested_on_the_test_books(directory):
    task = made("mlm-long", mlm_long.Length(20), directory, length=20)
    batch = task.draw("test", 2, generator("mlm"))
    asked = batch["targets"] != -100
    assert asked.sum(dim=1).tolist() == [3, 3]
    tokens = torch.where(asked, batch["targets"], batch["inputs"])
    assert tokens[0].tolist() == expected_tokens(BOOKS["test"][0])[:20]
    model = task.build(softmax_slots("ns"))
    assert task.evaluate(model, batch)["log_perplexity"].shape == (2,)
    assert task.loss(model, batch).isfinite()


def summariser(directory, shortest=3):
    texts = Texts(source=30, target=10, shortest=shortest)
    return made("summarise-cc", texts, directory, source_length=30, target_length=10)


def test_summarise_pads_articles_and_ends_summaries(directory):
    batch = summariser(directory).draw("test", 1, generator("sum"))
    article = expected_tokens(BOOKS["test"][0])
    assert batch["source"][0].tolist() == article[:30]
    assert not batch["source_padding"].any()
    assert batch["targets"][0].tolist() == [*article[:9], END]


def test_a_summary_is_greedy_no_shorter_than_told_and_ends_with_its_first_end(directory):
    task = summariser(directory)
    batch = task.draw("train", 3, generator("sum"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(softmax_slots("cc")).eval()
    assert model.head.weight is model.embed_target.weight
    told = {"first": END, "end": END, "shortest": 3, "longest": 10}
    source, padding = batch["source"], batch["source_padding"]
    with torch.no_grad():
        # The file has fewer pairs than GPT-2's: no other is written.
        model.head.bias[256 + len(PAIRS) :] = -1e4
        free = model.write(source, padding, **told)
        fed = torch.cat((torch.full((3, 1), END), free[:, :-1]), dim=1)
        assert free.equal(model(source, padding, fed).argmax(dim=-1))
        assert free.shape == (3, 10)
        model.head.bias[END] = 1e4
        assert model.write(source, padding, **told)[:, 3:].eq(END).all()
        assert model.write(source, padding, **told)[:, :3].ne(END).all()
    assert task.loss(model, batch).isfinite()
    assert set(task.evaluate(model, batch)) == {"rouge_1", "rouge_2", "rouge_l"}


def test_rouge_is_that_of_the_words_up_to_the_end(directory):
    task, encoding = summariser(directory), tokeniser(directory)
    true = encoding.encode_ordinary("the thin end")
    ours = encoding.encode_ordinary("the end of the inn")
    length = max(len(true), len(ours)) + 1
    rows = [_summarise.padded([torch.tensor(row).numpy()], length) for row in (ours, true)]
    scores = task.compare(*rows)
    # Two of five words are among the true three; no pair of neighbours is; in order, two.
    precision, recall = 2 / 5, 2 / 3
    expected = 100 * 2 * precision * recall / (precision + recall)
    assert scores["rouge_1"].item() == pytest.approx(expected, rel=1e-5)
    assert scores["rouge_2"].item() == 0
    assert scores["rouge_l"].item() == pytest.approx(expected, rel=1e-5)
