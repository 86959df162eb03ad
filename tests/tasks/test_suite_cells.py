"""Every column of CAB's and LRA's tables at a tiny size: train, evaluate, record.

Forecasting has its own file. The data sets are small files in the published formats, which go
through the same loading as the real ones.
"""

import base64
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from published_support import encoded, png, write_parquet
from speech_files import write_corpus
from tiny_cells import run_tiny, tiny

from cab.records.store import Record, RecordStore
from cab.registry import discover_tasks
from cab.scores.reference import read_reference
from cab.scores.suites import suite_tables
from cab.tasks.vision._diffusion import Schedule
from cab.tasks.vision.pathfinder import EASY
from cab.taxonomy import of_suite

TASKS = discover_tasks()
LENGTHS = {"source_length": 30, "target_length": 6}
SUMMARY = {"data": {"source": 30, "target": 6, "shortest": 2}, "model": LENGTHS}
SPEECH = {
    "data": {"characters": 8, "frames": 48},
    "model": {"source_length": 8, "target_length": 12, "prenet": 8},
}
CLOUD = {
    "data": {"seen": 32, "whole": 64},
    "model": {"encoder_layers": 1, "proxies": 8, "queries": 8, "neighbours": 4},
}
READING = {"data": {"length": 32}, "model": {"length": 32}}
PATHS = {
    "data": {"paths": EASY, "training": 6},
    "model": {"length": 1_024, "grid": (32, 32)},
}
EXPRESSIONS = {
    "data": {"depth": 4, "arguments": 4, "shortest": 8, "longest": 24},
    "model": {"length": 24},
}
CAB = {
    "tts-fastspeech-ljspeech": {
        "data": {"phonemes": 4, "frames": 45},
        "model": {"source_length": 4, "target_length": 45, "kernel": 3},
    },
    "tts-transformer-ljspeech-ns": SPEECH,
    "tts-transformer-ljspeech-cs": SPEECH,
    "tts-transformer-ljspeech-cc": SPEECH,
    "summarise-ns": SUMMARY,
    "summarise-cs": SUMMARY,
    "summarise-cc": SUMMARY,
    "point-completion-pcn-ns": CLOUD,
    "point-completion-pcn-nc": CLOUD,
    "super-resolution-faces": {
        "data": {"side": 16, "factor": 4, "schedule": Schedule(3, 0.1, 0.5)},
        "model": {"side": 16, "multipliers": (1, 2), "attention_sides": (8,), "groups": 4},
    },
    "lm": {"data": {"length": 12}, "model": {"length": 12}},
    "mlm-long": {"data": {"length": 20}, "model": {"length": 20}},
}
LRA = {
    f"{name}-{sizes}": settings
    for name, settings in {
        "listops": EXPRESSIONS,
        "text": READING,
        "match": READING,
        "image": {},
        "pathfinder": PATHS,
        "pathx": PATHS,
    }.items()
    for sizes in ("lra", "s4")
}
ALL = CAB | LRA


def write_texts(root: Path) -> None:
    """PG-19, Multi-News, the byte pairs of GPT-2 in number, and IMDb."""
    letters = range(32, 127)
    pairs = [bytes(pair) for pair in product(letters, repeat=2)]
    triples = (bytes(three) for three in product(letters, repeat=3))
    tokens = [bytes([one]) for one in range(256)] + pairs
    tokens += [next(triples) for _ in range(50_256 - len(tokens))]
    (root / "gpt2-bpe").mkdir()
    (root / "gpt2-bpe" / "r50k_base.tiktoken").write_bytes(
        b"".join(base64.b64encode(one) + b" %d\n" % rank for rank, one in enumerate(tokens))
    )
    for at, part in enumerate(("train", "validation", "test")):
        texts = [f"{at} {row} in the end the end is thin, " * 12 for row in range(4)]
        write_parquet(root / "pg19" / "data" / f"{part}-0.parquet", {"text": texts})
        news = {"document": texts, "summary": [text[:40] for text in texts]}
        write_parquet(root / "multi_news" / "default" / part / "0.parquet", news)
    for part in ("train", "test"):
        rows = {"text": [f"{part} {row} " * 9 for row in range(40)], "label": [0, 1] * 20}
        write_parquet(root / "imdb" / "plain_text" / f"{part}-0.parquet", rows)
    (root / "aan").mkdir()
    for part in ("train", "eval", "test"):
        lines = [f"{row % 2}.0\ta\tb\t{part} {row}\tother {row}" for row in range(20)]
        (root / "aan" / f"new_aan_pairs.{part}.tsv").write_text("\n".join(lines) + "\n")


def write_pictures(root: Path) -> None:
    """FFHQ, with more faces than validate, CelebA-HQ and CIFAR-10."""
    drawing = np.random.default_rng(0)
    faces = [encoded(png(one)) for one in drawing.integers(0, 256, (1_006, 16, 16, 3), np.uint8)]
    write_parquet(root / "ffhq" / "data" / "train-0.parquet", {"image": faces})
    write_parquet(root / "celeba_hq" / "data" / "validation-0.parquet", {"image": faces[:5]})
    for part, count in (("train", 40), ("test", 10)):
        pictures = drawing.integers(0, 256, (count, 32, 32, 3), np.uint8)
        rows = {"img": [encoded(png(one)) for one in pictures], "label": [0] * count}
        write_parquet(root / "cifar10" / "plain_text" / f"{part}-0.parquet", rows)


def write_clouds(root: Path) -> None:
    """PCN: two things a part, with one partial view each."""
    drawing = np.random.default_rng(0)
    for part, thing in product(("train", "val", "test"), ("a", "b")):
        files = (("complete", f"{thing}.pcd", 80), (f"partial/chair/{thing}", "00.pcd", 40))
        for folder, name, count in files:
            place = root / "PCN" / part / folder
            path = (place / "chair" if folder == "complete" else place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            points = drawing.uniform(-0.5, 0.5, (count, 3))
            head = f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS {count}\nDATA ascii\n"
            path.write_text(head + "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in points))


def checked(name: str, record: Record) -> None:
    card = TASKS.card(name)
    assert (record.task.pattern, record.task.version) == (card.pattern, card.version)
    for suite in card.suites.values():
        assert set(suite) <= set(record.metrics.test), name
    assert all(one.n == 4 for one in record.metrics.test.values())
    recipe = record.settings.recipe["train"]
    measured = [point.valid[card.metric] for point in record.curve if point.valid]
    if recipe["keep"] == "best":
        best = max if card.higher_is_better else min
        assert measured[-1] == best(measured)
    assert record.metrics.valid[card.metric].value == measured[-1]


def test_the_columns_of_the_suites_are_all_here() -> None:
    for suite, here in (("cab", CAB), ("lra", LRA), ("lra-s4", LRA)):
        names = {card.name for card in of_suite(TASKS.cards(), suite)}
        assert {one for one in names if not one.startswith("forecast-")} <= set(here)
    columns = {
        (card.pattern, name.split(" ")[0] if "SE" in name or "AE" in name else card.backbone)
        for card in of_suite(TASKS.cards(), "cab")
        for name in card.suites["cab"].values()
    }
    # CAB's table 1: nine columns in ns, three in cs, four in nc, two in cc.
    assert len(columns) == 18


def test_a_causal_task_of_each_suite_trains_evaluates_and_records(tmp_path: Path) -> None:
    write_texts(tmp_path)
    names = ("summarise-cs", "text-lra")
    found = run_tiny(tmp_path, [tiny(name, **ALL[name]) for name in names])
    for name in names:
        checked(name, found["softmax", name])


@pytest.mark.slow
def test_every_column_trains_evaluates_and_records_and_stands_in_its_table(tmp_path: Path) -> None:
    write_texts(tmp_path)
    write_pictures(tmp_path)
    write_clouds(tmp_path)
    write_corpus(tmp_path)
    found = run_tiny(tmp_path, [tiny(name, **settings) for name, settings in ALL.items()])
    for name in ALL:
        checked(name, found["softmax", name])
    records = [one for one in RecordStore(tmp_path / "store").scan() if isinstance(one, Record)]
    references = read_reference(Path(__file__).parents[2] / "results")
    for suite in ("cab", "lra", "lra-s4"):
        tables = suite_tables(suite, of_suite(TASKS.cards(), suite), records, references, "full")
        for table in tables:
            (own,) = [row for row in table.rows if not row.published]
            for column, value in zip(table.columns, own.values, strict=True):
                assert (value is None) == ("MSE" in column.name or "MAE" in column.name)
