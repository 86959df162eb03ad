"""The program itself: Ctrl-C at any moment, and streams, folders and disks that fail it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_support import Said, environment, finish, process_group, start_cab, wait_until

SLOW = "import os, time\nopen({marker!r}, 'w').close()\ntime.sleep(60)\n"
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")


def ended_well(said: Said) -> None:
    assert said.code == 130, said
    assert said.out == ""
    assert said.err.startswith("Interrupted.")
    assert "Traceback" not in said.err
    assert "ignored" not in said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_the_commands_are_imported_ends_at_once(tmp_path: Path, number: int) -> None:
    # The command line's library stands for all that is imported first.
    (tmp_path / "typer.py").write_text(SLOW.format(marker=str(tmp_path / "marker")))
    process = start_cab("list", "tasks", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    with process_group(process) as group:
        assert wait_until((tmp_path / "marker").exists)
        os.killpg(group, number)
        ended_well(finish(process, 20))


@pytest.mark.parametrize("whom", ["group", "parent"])
def test_an_impatient_ctrl_c_ends_as_the_first_would(tmp_path: Path, whom: str) -> None:
    variant = tmp_path / "mine.py"  # a check that is in the middle of its work
    variant.write_text(SLOW.format(marker=str(tmp_path / "marker")) + CARD)
    process = start_cab("check", variant, cwd=tmp_path)
    with process_group(process) as group:
        assert wait_until((tmp_path / "marker").exists)
        for _ in range(40):
            try:
                (os.killpg if whom == "group" else os.kill)(group, signal.SIGINT)
            except ProcessLookupError:
                break
            time.sleep(0.01)
        ended_well(finish(process, 20))


CARD = """
from cab.attention import MultiHeadAttention
from cab.registry import register_variant

@register_variant(name="mine", family="control", patterns="cs", summary="for a test")
class Mine(MultiHeadAttention):
    def attend(self, q, k, v, *, key_padding_mask=None):
        return q
"""

STUCK = """
import os, signal, threading, time
from cab.commands import program
from cab.commands.app import app
from cab.errors import Interrupted

program.PATIENCE = 0.5

@app.command("stuck")
def stuck():
    try:
        open("marker", "w").close()
        time.sleep(60)
    except Interrupted:
        while True:
            time.sleep(60)  # what never ends

program.main()
"""


def run_script(script: str, *arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_what_never_ends_is_ended_by_a_later_ctrl_c(tmp_path: Path) -> None:
    process = run_script(STUCK, "stuck", cwd=tmp_path)
    with process_group(process) as group:
        assert wait_until((tmp_path / "marker").exists)
        os.kill(group, signal.SIGINT)
        os.kill(group, signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        os.kill(group, signal.SIGINT)
        said = finish(process, 20)
    assert said.code == 130
    assert "Finished cells are kept" in said.err
    assert "Traceback" not in said.err


DROPPED = """
import os, signal, time
from cab.commands import program
from cab.commands.app import app

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # here the handler raises, and Python drops what it raised

@app.command("dropped")
def dropped():
    one = Finalised()
    del one
    time.sleep(20)
    print("it went on")

program.main()
"""


def test_a_ctrl_c_that_falls_into_a_finaliser_is_not_lost(tmp_path: Path) -> None:
    process = run_script(DROPPED, "dropped", cwd=tmp_path)
    with process_group(process):
        ended_well(finish(process, 40))


@needs_full
@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "tasks"],
        ["list", "tasks", "--json"],
        ["list", "variants"],
        ["info", "linear"],
        ["--version"],
        ["--help"],
    ],
)
def test_a_full_disk_under_stdout_is_a_sentence(arguments: list[str], tmp_path: Path) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cab", *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


@needs_full
def test_a_full_disk_under_stderr_changes_no_result(tmp_path: Path) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cab", "info", "nothing"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=full,
        )
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_encoding_that_lacks_characters_still_shows_the_numbers(tmp_path: Path) -> None:
    said = finish(
        run_script(
            "from cab.commands import program\nfrom cab.commands.common import output\n"
            "from cab.commands.app import app\n"
            "@app.command('numbers')\n"
            "def numbers():\n"
            "    output.print_table('t', ('a',), [('1 \\u00b1 2',), ('\\u2026',), ('\\u4e2d',)])\n"
            "    output.write_text('3 \\u00b1 4\\n')\n"
            "import sys; sys.stdout.reconfigure(encoding='ascii')\n"
            "program.main()\n",
            "numbers",
            cwd=tmp_path,
        )
    )
    assert said.code == 0, said.err
    assert "1 +/- 2" in said.out
    assert "3 +/- 4" in said.out
    assert "..." in said.out
    assert "?" in said.out
    assert said.err == ""


def test_a_working_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    script = (
        f"import os, shutil\nos.chdir({str(folder)!r})\nshutil.rmtree({str(folder)!r})\n"
        "from cab.commands.program import main\nmain()"
    )
    said = finish(run_script(script, "show", cwd=tmp_path))
    assert said.code == 2
    assert said.err.startswith("Error: The working directory cannot be found")
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError(28, 'No space left on device', 'x.so')", "No space left on device (x.so). Free"),
        ("OSError(122, 'Disk quota exceeded')", "Disk quota exceeded. Free some space"),
        (
            "FileNotFoundError(2, \"No usable temporary directory found in ['/tmp']\")",
            "No folder for temporary files can be written",
        ),
    ],
)
def test_a_full_disk_anywhere_is_a_sentence(error: str, said: str, tmp_path: Path) -> None:
    script = (
        "from cab.commands import program\nfrom cab.commands.app import app\n"
        f"@app.command('fails')\ndef fails():\n    raise {error}\nprogram.main()\n"
    )
    found = finish(run_script(script, "fails", cwd=tmp_path))
    assert found.code == 2
    assert found.err.startswith("Error: " + said), found.err
    assert "Traceback" not in found.err
