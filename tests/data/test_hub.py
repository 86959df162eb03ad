"""Fetching from a hub by its own client, from a server on this machine that speaks as it does."""

import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from file_server import listening
from published_support import write_parquet

from cab.data import HubSet, Part, inspect
from cab.data.fetch import fetch
from cab.data.hub import fetch_parts
from cab.errors import CabError

COMMIT = "5" * 40


@dataclass
class Hub:
    """The files of one repository, how the server is to misbehave, and what it was asked."""

    files: dict[str, bytes]
    address: str = ""
    cut_after: int | None = None
    asked: list[str] = field(default_factory=list)


def handler_of(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            hub.asked.append(path)
            api, stored = "/api/datasets/someone/reviews", "/datasets/someone/reviews/resolve/"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                names = [{"rfilename": name} for name in hub.files]
                self.send_json({"id": "someone/reviews", "sha": COMMIT, "siblings": names})
            elif path.startswith(f"{api}/tree/"):
                self.send_json(
                    [
                        {
                            "type": "file",
                            "path": name,
                            "size": len(content),
                            "oid": hashlib.sha1(content).hexdigest(),
                        }
                        for name, content in hub.files.items()
                    ]
                )
            elif path.startswith(stored) and (
                name := path.removeprefix(stored).partition("/")[2]
            ) in (hub.files):
                self.send_file(hub.files[name], body)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def send_json(self, document: object) -> None:
            text = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def send_file(self, content: bytes, body: bool) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: hub.cut_after])
                if hub.cut_after is not None:
                    self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    return Handler


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    files = {"README.md": b"read me", "other/train-0.parquet": b"of another configuration"}
    for name, rows in (("train-0", 2), ("train-1", 1), ("test", 1)):
        path = tmp_path / "upstream" / f"{name}.parquet"
        write_parquet(path, {"text": [f"{name} {n}" for n in range(rows)], "label": [1] * rows})
        files[f"text/{name}.parquet"] = path.read_bytes()
    found = Hub(files)
    with listening(handler_of(found)) as found.address:
        yield found


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading sets the client off the network, for the rest of the process."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def reviews() -> HubSet:
    return HubSet(
        name="reviews",
        summary="",
        folder="films",
        hub="someone/reviews",
        revision="main",
        form="parquet",
        parts={"train": Part("text/train-*.parquet", 3), "test": Part("text/test.parquet", 1)},
        columns={"text": "text", "label": "integer"},
        size=1_000,
        licence="CC0",
        split="",
    )


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_files_of_the_parts_come_as_they_are_published_and_no_others(
    hub: Hub, reviews: HubSet, tmp_path: Path
) -> None:
    home = tmp_path / "data"
    sentence = fetch_parts(reviews, home, hub.address)
    assert "was downloaded to" in sentence
    wanted = {f"films/{name}": hub.files[name] for name in hub.files if name.startswith("text/")}
    assert files_below(home) == wanted
    assert inspect(reviews, home)[0] == "verified"
    asked = len(hub.asked)
    assert "has the columns of the published one" in fetch(reviews, home)
    assert len(hub.asked) == asked


def test_what_is_not_the_set_is_refused_and_kept_apart(
    hub: Hub, reviews: HubSet, tmp_path: Path
) -> None:
    home = tmp_path / "data"
    more = replace(reviews, parts={**reviews.parts, "test": Part("text/test.parquet", 2)})
    with pytest.raises(CabError, match=r"cannot be used.*has 1 rows instead of 2"):
        fetch_parts(more, home, hub.address)
    assert inspect(more, home)[0] == "missing"
    assert (home / "films" / "reviews.part" / "text" / "test.parquet").exists()
    fetch_parts(reviews, home, hub.address)
    assert not (home / "films" / "reviews.part").exists()


def test_a_set_that_the_hub_does_not_have_is_a_sentence(
    hub: Hub, reviews: HubSet, tmp_path: Path
) -> None:
    with pytest.raises(CabError, match="The hub refuses data set someone/nothing at main: 404"):
        fetch_parts(replace(reviews, hub="someone/nothing"), tmp_path / "data", hub.address)


def test_a_hub_that_does_not_answer_is_said_at_once_with_what_to_do(
    reviews: HubSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CabError, match=r"cannot be reached .* by hand") as refused:
        fetch_parts(reviews, tmp_path, "http://127.0.0.1:9")
    assert "text/train-*.parquet" in str(refused.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CabError, match="HF_HUB_OFFLINE is set"):
        fetch_parts(reviews, tmp_path, "http://127.0.0.1:9")


def test_files_of_the_users_are_never_replaced(hub: Hub, reviews: HubSet, tmp_path: Path) -> None:
    mine = tmp_path / "films" / "text" / "test.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(CabError, match="holds only a part of data set reviews"):
        fetch_parts(reviews, tmp_path, hub.address)
    assert mine.read_bytes() == b"mine"
    assert hub.asked == []


def test_a_set_on_no_hub_is_to_be_brought_by_hand(reviews: HubSet, tmp_path: Path) -> None:
    by_hand = replace(reviews, hub="", address="https://example.org/films.zip")
    with pytest.raises(CabError, match=r"Download it from https://example\.org/films\.zip"):
        fetch(by_hand, tmp_path)


def test_a_place_that_cannot_be_written_is_a_sentence(reviews: HubSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CabError, match="cannot be written"):
        fetch(reviews, tmp_path / "file")
