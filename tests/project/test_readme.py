"""README.md and docs/ say what the code, the cards and the published results say."""

import re
import sys

import pytest
from support import REPOSITORY
from test_architecture import ROOMS

from cab.conformance.check import LAWS

sys.path.insert(0, str(REPOSITORY / "tests" / "golden"))

from readme import BLOCKS, marks, written

AHEAD = {"docs/variants.md", "docs/plugins.md"}
"""Pages that README.md links to before they exist; remove a name once its page is there."""
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))


@pytest.mark.parametrize("file", BLOCKS)
def test_the_generated_blocks_are_up_to_date(file: str) -> None:
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    for name in BLOCKS[file]:
        assert [text.count(mark) for mark in marks(name)] == [1, 1], name
    assert written(file, text) == text, "Run tests/golden/readme.py."


def test_no_file_has_a_generated_block_that_nothing_writes() -> None:
    for path in (REPOSITORY / "README.md", *PAGES):
        found = re.findall(r"<!-- (\w+): written by", path.read_text(encoding="utf-8"))
        assert found == list(BLOCKS.get(path.relative_to(REPOSITORY).as_posix(), {})), path


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 200


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = set(re.findall(r"\]\((?!https?:)([^)#]+)", README))
    assert {page.relative_to(REPOSITORY).as_posix() for page in PAGES} <= links
    assert [one for one in sorted(links - AHEAD) if not (REPOSITORY / one).exists()] == []


def test_the_readme_lists_the_folders_of_cab_in_their_order() -> None:
    folders = [room for floor in ROOMS for room in floor if (REPOSITORY / "cab" / room).is_dir()]
    table = re.findall(r"^\| `cab/(\w+)/` \| .* \| `(\w+\.py)` \|$", README, re.MULTILINE)
    assert [folder for folder, _ in table] == folders
    for folder, first in table:
        assert (REPOSITORY / "cab" / folder / first).is_file(), f"{folder}/{first}"


def test_the_page_of_commands_lists_every_command() -> None:
    import typer

    from cab.commands.app import app

    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`cab ([a-z-]+(?: [a-z-]+)?)", page))
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        for one in [f"{name} {sub}" for sub in inner] if inner else [name]:
            assert any(f"{said} ".startswith(f"{one} ") for said in told), one


def test_the_page_of_laws_lists_every_law_and_its_reason() -> None:
    page = (REPOSITORY / "docs" / "laws.md").read_text(encoding="utf-8")
    names = [law.name for law in LAWS]
    assert re.findall(r"^\| (\w+) \| [A-Z]", page, re.MULTILINE) == names
    assert re.findall(r"^- \*\*(\w+)\*\*:", page, re.MULTILINE) == names
