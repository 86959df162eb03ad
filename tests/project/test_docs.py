"""The pages of docs/ say what is: their commands run, their links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import environment
from support import REPOSITORY

PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
COMMANDS = {
    path: "\n".join(re.findall(r"^```sh\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL))
    for path in PAGES
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(path, id=path.stem) for path, commands in COMMANDS.items() if commands]
)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    # As the pages say it: `cab` stands for the program of this environment.
    program = f'cab() {{ "{sys.executable}" -m cab "$@"; }}\n'
    done = subprocess.run(
        ["sh", "-eu", "-c", program + COMMANDS[page]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    if page.stem == "sweeps":
        assert "Nothing to do: all 6 cells are done." in done.stderr
    if page.stem == "teams":
        assert "1 records in sqlite:///shared.db: 0 added, 0 replaced, 1 unchanged" in done.stdout


@pytest.mark.parametrize("page", [pytest.param(path, id=path.stem) for path in PAGES])
def test_the_links_and_options_of_a_page_are_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (REPOSITORY / name).is_file(), name
    sources = [REPOSITORY / "cab" / "commands" / f"{name}.py" for name in ("sweep", "options")]
    known = set(re.findall(r'"(--[a-z-]+)"', "".join(path.read_text() for path in sources)))
    known |= {
        f"--{name.replace('_', '-')}"
        for name in re.findall(r"^    (\w+): ", sources[0].read_text(), re.M)
    }
    for command in re.findall(r"^cab sweep (?:.*\\\n)*.*$", text, re.MULTILINE):
        assert set(re.findall(r"(--[a-z-]+)", command)) <= known, command
