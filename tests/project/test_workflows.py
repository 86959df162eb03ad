"""The workflows are well-formed, and contributed code never meets a secret."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY
from workflow_steps import FOLDER, read, steps

WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def schema_check(*paths: object) -> subprocess.CompletedProcess[str]:
    """Hold workflows against the schema that comes with the checker."""
    command = [sys.executable, "-m", "check_jsonschema"]
    schema = ["--builtin-schema", "vendor.github-workflows"]
    return subprocess.run(
        [*command, *schema, *map(str, paths)], capture_output=True, text=True, timeout=120
    )


def test_all_workflows_fit_the_schema_and_the_check_can_fail(tmp_path) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    done = schema_check(*WORKFLOWS)
    assert done.returncode == 0, done.stdout
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs:\n  a:\n    steps:\n      - runs: echo\n")
    assert schema_check(bad).returncode != 0


def test_code_of_a_pull_request_runs_without_secrets_or_the_right_to_write() -> None:
    text = (FOLDER / "contribution.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "github.token" not in text
    assert ": write" not in text
    assert "persist-credentials: false" in text


def test_what_may_comment_runs_nothing_of_the_pull_request() -> None:
    text = (FOLDER / "contribution-comment.yml").read_text(encoding="utf-8")
    assert "actions/checkout" not in text
    assert ".venv" not in text
    for block in text.split("run: |")[1:]:
        # What an author chooses (names, branches) reaches a shell by the environment alone.
        assert "${{" not in block.partition("- name:")[0].partition("- uses:")[0]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_workflow_says_what_it_may_do_and_for_how_long(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "\npermissions:" in text
    assert text.count("runs-on:") == text.count("timeout-minutes:")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_runs_in_a_shell_in_which_a_failed_command_fails(path) -> None:
    assert read(path.stem)["defaults"] == {"run": {"shell": "bash"}}
    for step in steps(path.stem):
        assert "shell" not in step
        assert not re.search(r"\|\|\s*(true|:)(\s|$)", step.get("run", "")), step
        assert "continue-on-error" not in step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_named_by_tag(path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses:(.*)", text)
    assert len(used) == sum("uses" in step for step in steps(path.stem))
    for action in used:
        assert re.fullmatch(r" actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_gives_pull_requests_its_rights_or_keeps_credentials(path) -> None:
    assert "pull_request_target" not in path.read_text(encoding="utf-8")
    for step in steps(path.stem):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_one_action_has_one_version() -> None:
    used = {step["uses"] for path in WORKFLOWS for step in steps(path.stem) if "uses" in step}
    assert len(used) == len({one.partition("@")[0] for one in used})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_paths_that_a_workflow_names_exist(path) -> None:
    text = path.read_text(encoding="utf-8")
    hashed = re.findall(r"hashFiles\('([^']+)'\)", text)
    triggers = read(path.stem)["on"]
    events = triggers.values() if isinstance(triggers, dict) else ()
    started = [one for event in events if "paths" in (event or ()) for one in event["paths"]]
    for pattern in [*hashed, *started]:
        assert any(REPOSITORY.glob(pattern)), pattern


def test_the_cache_of_data_follows_all_that_fetches_it() -> None:
    (key,) = (
        s["with"]["key"] for s in steps("tests") if s.get("uses", "").startswith("actions/cache@")
    )
    (pattern,) = re.findall(r"hashFiles\('([^']+)'\)", key)
    hashed = {path.name for path in REPOSITORY.glob(pattern)}
    assert {"catalogue.py", "fetch.py", "hub.py", "published.py"} <= hashed


def rehearsed(target: str, tmp_path: Path) -> str:
    """What `make` would run for a target in an environment that is not there yet."""
    command = ["make", "--dry-run", f"VENV={tmp_path / 'venv'}", target.format(tmp_path / "venv")]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("target", "developing"),
    [
        ("demo", False),
        ("{}/.installed", False),
        ("{}/.developed", True),
        ("lint", True),
        ("test", True),
        ("bench", True),
    ],
)
def test_the_developers_tools_are_installed_for_developing_alone(
    target: str, developing: bool, tmp_path: Path
) -> None:
    said = rehearsed(target, tmp_path)
    assert "--editable .\n" in said
    assert ('--editable ".[dev]"' in said) == developing


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_installs_the_developers_tools_only_where_it_tests(path) -> None:
    text = path.read_text(encoding="utf-8")
    if "make .venv/" not in text:
        return
    assert ("make .venv/.developed" in text) == ("make test" in text)
    assert ("make .venv/.installed" in text) == ("make test" not in text)
