"""`cab site build` and `serve`, as a person starts them."""

import signal
import urllib.request
from pathlib import Path

from cli_support import cab_here, finish, process_group, start_cab


def test_pages_are_served_to_this_machine_until_ctrl_c(results: Path, tmp_path: Path) -> None:
    arguments = ("site", "serve", "--results", results, "--out", "public", "--port", 0)
    process = start_cab(*arguments, cwd=tmp_path)
    with process_group(process):
        assert process.stdout is not None
        assert "files to public" in process.stdout.readline()
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address + "variants/performer.html") as answer:
            assert answer.status == 200
            assert "<h1>" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        said = finish(process)
    assert said.code == 130
    assert "Interrupted" in said.err


def test_a_folder_with_something_else_in_it_is_a_sentence(results: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    said = cab_here("site", "build", "--results", results, "--out", tmp_path)
    assert said.code == 2
    assert "contains files that are not pages of this site" in " ".join(said.err.split())
    assert (tmp_path / "notes.txt").read_text() == "mine"
