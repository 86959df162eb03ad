"""The steps of the workflows, run as they stand: each fails on what is broken, and passes else."""

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import pytest
from workflow_steps import commit, copy_tree, merge, program, read, run_step, write

pytestmark = pytest.mark.slow

LIST, VARIANTS = "List what changed", "Check changed variants"
RECORDS, REBUILD = (
    "Check records, and rerun a sample of them",
    "Rebuild the board before and after",
)
SHOW, COMMENT = "Show the difference", "Write the comment"
MINE, ROW = "variants/softmax/mine.py", "results/quick/linear.jsonl"


def mine(name: str = "mine", hidden: str = "hidden") -> str:
    """The file that `cab new variant` writes, of one pattern to be checked in seconds."""
    text = (
        resources.files("cab.commands")
        .joinpath("templates", "variant.py.template")
        .read_text("utf-8")
    )
    text = text.replace("ns cs nc cc", "cs").replace("@FAMILY@", "softmax")
    text = text.replace("masked_fill(hidden, torch", f"masked_fill({hidden}, torch")
    return text.replace("@CLASS@", "Mine").replace("@NAME@", name)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "tree"
    copy_tree(folder)
    return folder


@pytest.fixture
def tree(base: Path, tmp_path: Path) -> Path:
    """A copy of the project of its own."""
    folder = tmp_path / "tree"
    shutil.copytree(base, folder, symlinks=True)
    library = folder / "lib" / "cab"
    for link in library.iterdir():
        target = folder / link.readlink().relative_to(base)
        link.unlink()
        link.symlink_to(target)
    return folder


def contribution(tree: Path, *names: str) -> list[int]:
    """Run steps of the workflow one after another; return their exit codes."""
    return [run_step("contribution", name, tree).returncode for name in names]


def test_a_good_contribution_passes_every_step(tree: Path) -> None:
    write(tree, MINE, mine())
    lines = (tree / ROW).read_text().splitlines(keepends=True)
    without = [one for one in lines if '"name":"mqar"' not in one]
    assert 0 < len(without) < len(lines)
    (tree / ROW).write_text("".join(without))
    write(tree, "CHANGELOG.md", (tree / "CHANGELOG.md").read_text() + "\nWithdrawn: linear.\n")
    merge(tree)
    for step in (LIST, VARIANTS, RECORDS, REBUILD, SHOW):
        done = run_step("contribution", step, tree)
        assert done.returncode == 0, step + done.stdout + done.stderr
    calls = (tree / "calls").read_text()
    assert "['check', '--', 'mine']" in calls
    draw = "f" * 40 + "-12345"
    verify = ["verify", "--sample", "2", "--draw", draw, "--device", "cpu", "--", ROW]
    assert repr(verify) in calls
    summary = (tree / "summary").read_text()
    assert f"    added: {MINE}" in summary
    gone = len(lines) - len(without)
    assert f"    changed: {ROW} (0 records added, 0 changed, {gone} deleted)" in summary
    assert "    0 errors" in summary
    assert "    -| " in summary
    assert (tree / "out" / "site" / "index.html").exists()
    shutil.copytree(tree / "out", tree / "contribution")
    assert run_step("contribution-comment", COMMENT, tree).returncode == 0
    comment = (tree / "comment.md").read_text()
    for words in (f"    added: {MINE}", "    0 errors", "    -| "):
        assert words in comment
    assert "Not made" not in comment


@pytest.mark.parametrize(
    ("path", "text", "passes"),
    [
        (MINE, mine(hidden="hidden & False"), [LIST]),
        (MINE, mine(name="--help"), []),
        (MINE, "def", []),
        (ROW, '{"not":"a record"}\n', [LIST]),
        ("results/quick/mine.jsonl", '{"not":"a record"}\n', [LIST, VARIANTS]),
        ("results/quick/mine.txt", "", []),
        ("variants/control/mean.py", None, [LIST]),
    ],
    ids=["leak", "option", "syntax", "all records", "row", "place", "stale row"],
)
def test_a_broken_contribution_fails_a_step(
    path: str, text: str | None, passes: list[str], tree: Path
) -> None:
    if text is None:
        text = (tree / path).read_text() + "\nMORE = 1\n"
        passes = [LIST, VARIANTS]
    elif path == ROW:
        # Its old records are of today's source; the list step would already ask for a reason.
        write(tree, "CHANGELOG.md", (tree / "CHANGELOG.md").read_text() + "\nWithdrawn: linear.\n")
        passes = [LIST, VARIANTS]
    write(tree, path, text)
    merge(tree)
    following = next(one for one in (LIST, VARIANTS, RECORDS) if one not in passes)
    assert contribution(tree, *passes, following) == [
        *(0 for _ in passes),
        1 if following == LIST else 123,
    ]


def test_a_row_that_became_a_link_fails(tree: Path) -> None:
    (tree / ROW).unlink()
    (tree / ROW).symlink_to("none.jsonl")
    merge(tree)
    assert contribution(tree, LIST) == [1]


def test_the_board_of_a_broken_row_or_by_broken_code_is_a_failure(tree: Path) -> None:
    whole = (tree / ROW).read_text()
    write(tree, ROW, '{"not":"a record"}\n')
    merge(tree)
    done = run_step("contribution", REBUILD, tree)
    assert done.returncode == 2
    assert "Some results cannot be read; correct the 1 problem named above." in done.stderr
    write(tree, ROW, whole)
    assert contribution(tree, REBUILD) == [0]
    page = next((tree / "site" / "templates").glob("board*.html"))
    page.write_text("{% if %}")
    assert contribution(tree, REBUILD) == [1]


def test_a_first_board_has_nothing_before_it(tree: Path) -> None:
    rows = (tree / "results").rename(tree.parent / "kept")
    commit(tree, "no results yet")
    rows.rename(tree / "results")
    merge(tree)
    assert contribution(tree, REBUILD) == [0]
    assert (tree / "out" / "before.md").read_text() == ""
    assert "+|" in (tree / "out" / "board.diff").read_text()


def test_a_checkout_without_the_base_is_a_failure(tree: Path) -> None:
    assert run_step("contribution", REBUILD, tree).returncode != 0
    assert run_step("contribution", LIST, tree).returncode == 2


def test_what_was_not_made_is_said(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write(tree, "contribution/changes.txt", "REFUSED: deleted: x\n")
    write(tree, "contribution/board.diff", "")
    write(tree, "out/changes.txt", "REFUSED: deleted: x\n")
    assert run_step("contribution-comment", COMMENT, tree).returncode == 0
    assert run_step("contribution", SHOW, tree).returncode == 0
    comment = (tree / "comment.md").read_text()
    assert "\n    REFUSED: deleted: x\n" in comment
    assert "\nNothing.\n" in comment
    assert "\nNot made: an earlier step of the check failed.\n" in comment
    assert (tree / "summary").read_text().count("Not made: an earlier step failed.") == 2


GH = """#!/bin/sh
echo "$@" >> "$LOG"
case "$*" in
  *files*) [ -z "$BROKEN" ] || exit 1; printf 'modified: results/quick/a.jsonl\\nadded: `x`\\n';;
  *comment*) cat comment.md;;
  *"head=me:topic"*) echo 7;;
esac
"""


def test_the_comment_holds_what_github_itself_lists_and_its_failure_fails(tmp_path: Path) -> None:
    tree, log = tmp_path / "tree", tmp_path / "log"
    write(tree, "comment.md", "said\n\n")
    programs = program(tmp_path / "bin", "gh", GH)
    chosen = {"REPOSITORY": "o/r", "OWNER": "me", "BRANCH": "topic", "SHA": "abc", "LOG": str(log)}
    post = functools.partial(run_step, "contribution-comment", "Post it", tree, programs)
    done = post(**chosen)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("    modified: results/quick/a.jsonl\n    added: `x`\n")
    assert "pr comment 7 --repo o/r --body-file comment.md" in log.read_text()
    assert post(**chosen, BROKEN="1").returncode == 1
    log.unlink()
    assert post(**{**chosen, "BRANCH": "other"}).returncode == 0
    assert "pr comment" not in log.read_text(), "no pull request is open for it"


def test_a_site_that_is_built_otherwise_the_second_time_fails(tree: Path) -> None:
    name = "Build it again, and compare every byte"
    first = run_step("site", name, tree)
    assert first.returncode != 0, "nothing was built before"
    shutil.copytree(tree / "again", tree / "site" / "public")
    assert run_step("site", name, tree).returncode == 0
    page = tree / "site" / "public" / "index.html"
    page.write_text(page.read_text() + " ")
    assert run_step("site", name, tree).returncode == 1


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_the_published_site_is_compared_file_by_file(
    tmp_path: Path, served: tuple[Path, str]
) -> None:
    folder, address = served
    tree = tmp_path / "tree"
    for path in ("index.html", "data/a-b.json", "empty"):
        write(tree, f"site/public/{path}", path if path != "empty" else "")
        write(folder, path, path if path != "empty" else "")
    gh = program(tmp_path / "bin", "gh", f"#!/bin/sh\necho {address}\n")
    check = functools.partial(run_step, "health", "Fetch every page and compare", tree, gh)
    urls = check(no_proxy="*")
    assert urls.returncode == 0, urls.stdout + urls.stderr
    (folder / "empty").unlink()
    missing = check(no_proxy="*")
    assert missing.returncode == 1
    assert missing.stdout.endswith("Not what the results give:\nempty\n")
    (tree / "site" / "wrong").unlink()
    write(folder, "empty", "")
    write(folder, "index.html", "other")
    assert check(no_proxy="*").stdout.endswith("Not what the results give:\nindex.html\n")


def test_the_tests_fail_without_a_browser(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    programs = program(tmp_path / "bin", "make", '#!/bin/sh\necho "$CAB_CHROMIUM $@"\n')
    name = "Run everything, in a browser too"
    without = run_step("tests", name, tree, programs, PATH=f"{programs}:/bin")
    assert without.returncode == 1 or shutil.which("google-chrome", path="/bin")
    program(programs, "google-chrome", "#!/bin/sh\n")
    done = run_step("tests", name, tree, programs)
    assert (done.returncode, done.stdout) == (0, f"{programs}/google-chrome test TESTS=\n")


def test_what_is_looked_at_starts_the_check() -> None:
    paths = read("contribution")["on"]["pull_request"]["paths"]
    assert {"results", "results/**", "variants/**", "kernels/**", "tasks/**"} <= set(paths)
