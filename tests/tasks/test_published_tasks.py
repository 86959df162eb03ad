"""Tasks on published data: small files in the published format go through their real loading."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from published_support import encoded, png, small, wav, write_parquet
from task_support import TASKS, softmax_slots

from cab.data import DATA_SETS, inspect
from cab.errors import CabError
from cab.profiles import get_profile
from cab.registry import discover_variants
from cab.running.cells import Request, plan
from cab.running.facts import fingerprint
from cab.seeding import generator
from cab.task import SPLITS
from cab.tasks.language._bytes import byte_rows
from cab.tasks.speech.speech_commands import SAMPLE_RATE

PUBLISHED = {
    "image-s4": "cifar10",
    "text-lra": "imdb",
    "match-lra": "aan",
    "speech-commands": "speech-commands-2",
}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with small sets of the four formats, and a catalogue that says so."""
    folder = tmp_path_factory.mktemp("data")
    drawing = np.random.default_rng(0)
    pictures = drawing.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    pictures[3] = pictures[50]  # stands in training and test
    for part, rows in (("train", range(40)), ("test", range(40, 60))):
        write_parquet(
            folder / "cifar10" / "plain_text" / f"{part}-00000-of-00001.parquet",
            {
                "img": [encoded(png(pictures[row])) for row in rows],
                "label": [row % 10 for row in rows],
            },
        )
        texts = [f"Review {row}: naïve, “{'very ' * (row % 7)}good”<br />" * 40 for row in rows]
        texts[4 if part == "train" else 9] = "the same review"
        write_parquet(
            folder / "imdb" / "plain_text" / f"{part}-00000-of-00001.parquet",
            {"text": texts, "label": [int(row % 40 >= 20) for row in rows]},
        )
    (folder / "aan").mkdir()
    for part, first in (("train", 0), ("eval", 30), ("test", 50)):
        lines = [
            f"{row % 2}.0\tP{row}-1\tW{row}-2\tb'paper {row} says \"{row}'\tb'another {row}\\n'"
            for row in range(first, first + 20)
        ]
        (folder / "aan" / f"new_aan_pairs.{part}.tsv").write_text("\n".join(lines) + "\n")
    with (folder / "aan" / "new_aan_pairs.train.tsv").open("a") as file:
        file.write("1.0\tX\tY\tb'paper 55 says \"55'\tb'another 55\\n'\n")
    for part, first in (("train", 0), ("validation", 100), ("test", 200)):
        cells, labels = [], []
        for row in range(first, first + 36):
            sound = 0.3 * np.sin(np.arange(SAMPLE_RATE - 37 * (row % 3)) * (row + 1) / 500)
            cells.append(encoded(wav(sound)))
            labels.append(row % 12)
        write_parquet(
            folder / "speech_commands" / "v0.02" / part / "0000.parquet",
            {"file": ["x"] * 36, "audio": cells, "label": labels},
        )
    rows = {
        "cifar10": {"train": 40, "test": 20},
        "imdb": {"train": 40, "test": 20},
        "aan": {"train": 21, "valid": 20, "test": 20},
        "speech-commands-2": {"train": 36, "validation": 36, "test": 36},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, counts in rows.items():
            patch.setitem(DATA_SETS, name, small(name, **counts))
        yield folder


def made(name: str, home: Path, profile: str = "standard"):
    task_class = TASKS.load(name)
    return task_class(task_class.recipes[profile], home)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_small_copies_have_the_published_form(name: str, home: Path) -> None:
    state, sentence = inspect(DATA_SETS[PUBLISHED[name]], home)
    assert state == "verified", sentence


@pytest.mark.parametrize("name", PUBLISHED)
def test_there_are_recipes_for_the_published_sizes_alone(name: str, home: Path) -> None:
    recipes = TASKS.load(name).recipes
    assert set(recipes) == {"standard", "full"}
    card = TASKS.card(name)
    assert card.data == (PUBLISHED[name],)
    assert "not on the real set" in card.source
    request = Request(variants=["softmax"], profile=get_profile("quick"), tasks=[name])
    with pytest.raises(CabError, match=f"{name} has no recipe for profile quick"):
        plan(request, discover_variants(), TASKS)
    everything = plan(replace(request, tasks=(), diagnostic=True), discover_variants(), TASKS)
    assert f"{name} has no recipe for profile quick." in everything.left_out


@pytest.mark.parametrize("name", PUBLISHED)
def test_splits_share_no_example(name: str, home: Path) -> None:
    task = made(name, home)
    seen = {}
    for split in SPLITS:
        inputs = task.draw(split, 60, generator("disjoint", split))["inputs"]
        seen[split] = {fingerprint({"example": one}) for one in inputs}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["valid"]
    assert not seen["valid"] & seen["test"]
    assert len(seen["test"]) == (30 if name == "speech-commands" else 20)


@pytest.mark.parametrize("name", PUBLISHED)
def test_equal_generators_draw_equal_examples(name: str, home: Path) -> None:
    task = made(name, home)
    for split in SPLITS:
        first, second = (task.draw(split, 9, generator("equal", split)) for _ in range(2))
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_backbone_learns_one_batch_from_small_files(name: str, home: Path) -> None:
    task = made(name, home)
    width = replace(task.recipe.model.width, dim=16, heads=2, layers=1, dropout=0.0)
    task.recipe = replace(task.recipe, model=replace(task.recipe.model, width=width))
    batch = task.draw("train", 4, generator("one batch"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(softmax_slots("ns"))
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses = []
        for _ in range(6):
            loss = task.loss(model, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert task.evaluate(model.eval(), batch)["accuracy"].shape == (4,)
    assert 0 < task.tokens(batch) <= batch["inputs"].numel()


def test_grey_pictures_are_the_luma_of_the_published_ones(home: Path) -> None:
    from cab.data import decode_image, load_part

    task = made("image-s4", home)
    batch = task.draw("test", 20, generator("order"))
    rows = load_part("cifar10", home, "test")
    assert batch["targets"].tolist() == rows[:]["label"]
    for row, pixels in zip(rows, batch["inputs"], strict=True):
        colours = decode_image(row["img"]).reshape(1024, 3).astype(float)
        luma = colours @ np.array([0.299, 0.587, 0.114])
        assert np.abs(pixels.numpy() - luma).max() <= 0.51
    assert sum(len(task._pictures[split][1]) for split in ("train", "valid")) == 39


def test_reviews_are_read_as_their_first_bytes(home: Path) -> None:
    from cab.data import load_part

    task = made("text-lra", home)
    batch = task.draw("test", 20, generator("order"))
    rows = load_part("imdb", home, "test")
    published = {
        text.encode()[:1024]: label
        for text, label in zip(rows["text"], rows["label"], strict=True)
    }
    found = {}
    for tokens, label in zip(batch["inputs"].tolist(), batch["targets"].tolist(), strict=True):
        length = sum(token > 0 for token in tokens)
        assert not any(tokens[length:])
        found[bytes(token - 1 for token in tokens[:length])] = label
    assert found == published
    assert sum(len(task._reviews[split][1]) for split in ("train", "valid")) == 39


def test_bytes_are_one_more_than_themselves_and_padding_zero() -> None:
    rows = byte_rows(["aé", "", "long text \U0001f600", "\x00"], 4)
    assert rows.tolist() == [[98, 196, 170, 0], [0] * 4, [109, 112, 111, 104], [1, 0, 0, 0]]


def test_pairs_are_read_line_by_line_and_a_tested_pair_is_not_trained_on(home: Path) -> None:
    task = made("match-lra", home)
    pairs, labels = task._pairs["test"]
    assert pairs.shape == (20, 2, 1024)
    for row in range(20):
        texts = [bytes(t - 1 for t in one.tolist() if t).decode() for one in pairs[row]]
        number = 50 + row
        assert texts == [f"b'paper {number} says \"{number}'", f"b'another {number}\\n'"]
        assert labels[row] == number % 2
    assert len(task._pairs["train"][1]) == 20


def test_sounds_are_those_of_the_ten_commands(home: Path) -> None:
    frames, samples = (made("speech-commands", home, profile) for profile in ("standard", "full"))
    _, classes = samples._sounds["test"]
    kept = [row for row in range(200, 236) if row % 12 < 10]
    assert classes.tolist() == [row % 12 for row in kept]
    batch = samples.draw("test", len(kept), generator("order"))
    assert batch["inputs"].shape == (len(kept), SAMPLE_RATE, 1)
    for row, sound in zip(kept, batch["inputs"], strict=True):
        length = SAMPLE_RATE - 37 * (row % 3)
        expected = 0.3 * np.sin(np.arange(length) * (row + 1) / 500)
        assert np.abs(sound[:length, 0].numpy() - expected).max() < 2**-14
        assert not sound[length:].any()
    heard = frames.draw("test", 5, generator("order"))["inputs"]
    assert heard.shape == (5, 101, 40)
    assert heard.abs().max() < 5


def test_a_rate_that_is_not_the_published_one_is_said(home: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100), 8_000, format="WAV")
    for part in ("train", "validation", "test"):
        path = tmp_path / "speech_commands" / "v0.02" / part / "0000.parquet"
        write_parquet(path, {"audio": [encoded(file.getvalue())], "label": [0]})
    with pytest.raises(ValueError, match="8000 samples a second"):
        made("speech-commands", tmp_path).draw("test", 1, generator("rate"))
