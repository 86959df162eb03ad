"""`cab data`: lists, verifies and fetches, with exit codes that a script can use."""

import hashlib
from pathlib import Path

import pytest
from cli_support import DATA, cab_here, needs_data
from fuzzing import at_most, no_file

from cab.data import DATA_SETS, VERBATIM, locate

NAMES = [data_set.name for data_set in VERBATIM]
"""What a bare `cab data fetch` and `cab data verify` speak of."""
HERE = Path(DATA or "/nowhere")


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A folder whose table is not the published one, and whose text is."""
    (tmp_path / "ett").mkdir()
    (tmp_path / "ett" / "ETTh1.csv").write_text("date,OT\n2016-07-01,1.0\n")
    for path in locate(DATA_SETS["tinyshakespeare"], HERE):
        (tmp_path / "tinyshakespeare").mkdir()
        (tmp_path / "tinyshakespeare" / path.name).symlink_to(path)
    return tmp_path


def test_verify_says_what_is_missing_with_code_1(tmp_path: Path) -> None:
    said = cab_here("data", "verify", "--data-dir", tmp_path, "--json")
    assert said.code == 1
    assert {name: one["state"] for name, one in said.document.items()} == dict.fromkeys(
        NAMES, "missing"
    )
    plain = cab_here("data", "verify", "--data-dir", tmp_path)
    assert plain.code == 1
    assert all(f"`cab data fetch {name}`" in plain.out for name in NAMES)
    assert list(tmp_path.iterdir()) == []


@needs_data
def test_verify_says_that_all_is_well_with_code_0() -> None:
    said = cab_here("data", "verify", "--json", CAB_DATA=str(DATA))
    assert said.code == 0
    assert {one["state"] for one in said.document.values()} == {"verified"}
    assert said.err == ""


@needs_data
def test_verify_looks_at_the_sets_that_are_named_alone(altered: Path) -> None:
    good = cab_here("data", "verify", "tinyshakespeare", "--data-dir", altered)
    assert good.code == 0
    wrong = cab_here("data", "verify", "tinyshakespeare", "etth1", "--data-dir", altered, "--json")
    assert wrong.code == 1
    assert {name: one["state"] for name, one in wrong.document.items()} == {
        "tinyshakespeare": "verified",
        "etth1": "wrong",
    }


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("place", ["ett/ETTh1.csv", "cifar10/plain_text/train-0.parquet"])
def test_verify_says_in_a_sentence_that_something_else_is_in_a_files_place(
    tmp_path: Path, kind: str, place: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    no_file(path, kind)
    path.with_name("test-0.parquet").touch()
    name = "cifar10" if "cifar10" in place else "etth1"
    with at_most(60):
        said = cab_here("data", "verify", name, "--data-dir", tmp_path, "--json")
    assert said.code == 1
    assert said.document[name]["state"] == "wrong"
    assert f"{path.name} in it is no file" in said.document[name]["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "fetch", "etth1"),
        ("run", "--variant", "none", "--profile", "smoke", "--task", "forecast"),
        (
            "run",
            "--variant",
            "none",
            "--profile",
            "smoke",
            "--domain",
            "long_range",
            "--diagnostic",
        ),
    ],
)
def test_an_altered_copy_is_refused_with_both_hashes_and_kept(
    altered: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(altered)
    table = altered / "ett" / "ETTh1.csv"
    before = table.read_bytes()
    said = cab_here(*arguments, "--data-dir", altered)
    assert said.code == 2
    assert DATA_SETS["etth1"].sha256 in said.err
    assert hashlib.sha256(before).hexdigest() in said.err
    assert "Nothing was deleted" in said.err
    assert table.read_bytes() == before
    assert list(altered.glob("runs/records/*")) == []


@needs_data
def test_fetch_leaves_what_is_verified_alone_and_needs_no_network() -> None:
    said = cab_here("data", "fetch", "--json", CAB_DATA=str(DATA))
    assert said.code == 0
    assert said.document["directory"] == str(HERE.resolve())
    assert list(said.document["fetched"]) == NAMES
    assert all("is the published one" in text for text in said.document["fetched"].values())
    assert all(text in said.err for text in said.document["fetched"].values())


@needs_data
def test_a_given_folder_comes_before_the_environment(tmp_path: Path) -> None:
    said = cab_here("data", "verify", "--data-dir", tmp_path, CAB_DATA=str(DATA))
    assert said.code == 1


def test_a_published_set_is_verified_if_it_is_named_or_here(tmp_path: Path) -> None:
    named = cab_here("data", "verify", "cifar10", "--data-dir", tmp_path, "--json")
    assert named.code == 1
    assert named.document["cifar10"]["state"] == "missing"
    assert "cab data fetch cifar10" in named.document["cifar10"]["message"]
    (tmp_path / "imdb" / "plain_text").mkdir(parents=True)
    for part in ("train", "test"):
        path = tmp_path / "imdb" / "plain_text" / f"{part}-00000-of-00001.parquet"
        path.write_bytes(b"not the published one")
    said = cab_here("data", "verify", "--data-dir", tmp_path, "--json")
    assert set(said.document) == {*NAMES, "imdb"}
    assert said.document["imdb"]["state"] == "wrong"


def test_without_a_network_a_published_set_is_refused_with_what_to_do(tmp_path: Path) -> None:
    said = cab_here("data", "fetch", "imdb", "--data-dir", tmp_path, HF_HUB_OFFLINE="1")
    assert said.code == 2
    assert "cannot be reached (HF_HUB_OFFLINE is set)" in said.err
    assert "plain_text/train-*.parquet" in said.err
    by_hand = cab_here("data", "fetch", "aan", "--data-dir", tmp_path)
    assert by_hand.code == 2
    assert "long-range-arena" in by_hand.err


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = cab_here("data", "fetch", "etth1", "--data-dir", tmp_path / "file" / "data")
    assert said.code == 2
    assert "cannot be written" in said.err
    assert (tmp_path / "file").read_text() == "mine"
