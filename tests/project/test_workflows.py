"""The workflows are well-formed, and contributed code never meets a secret."""

import subprocess
import sys

import pytest
from support import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
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
    assert "pull_request_target" not in text
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
