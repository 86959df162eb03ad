"""Commands that read trained weights: options that contradict the weights are refused."""

from pathlib import Path

import pytest
from cli_support import cab_here

RUN = ("run", "--variant", "window", "--task", "mqar", "--profile", "smoke", "--unchecked")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    said = cab_here(
        *RUN,
        *("--set", "window=4", "--set", "train.steps=2", "--checkpoints", folder / "kept"),
        *("--store", folder, "--tracking", "none"),
    )
    assert said.code == 0, said.err
    return folder / "kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--seed", "7"),
        ("--profile", "quick"),
        ("--set", "window=8"),
        ("--set", "train.steps=3"),
        ("--set", "model.dim=64"),
    ],
)
def test_what_contradicts_the_weights_is_refused(
    options: tuple[str, ...], weights: Path, tmp_path: Path
) -> None:
    said = cab_here(
        *("probe", "--variant", "window", "--task", "mqar", "--checkpoint", weights),
        *("--store", tmp_path, *options),
    )
    assert said.code == 2
    assert "which contradict " + " ".join(options) in " ".join(said.err.split())


@pytest.mark.slow
def test_what_agrees_with_the_weights_is_accepted(weights: Path, tmp_path: Path) -> None:
    said = cab_here(
        *("probe", "--variant", "window", "--task", "mqar", "--checkpoint", weights),
        *("--store", tmp_path, "--seed", "0", "--profile", "smoke", "--set", "window=4"),
        *("--set", "train.steps=2", "--examples", "2", "--json"),
    )
    assert said.code == 0, said.err
    assert "window" in said.document["cell"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["probe", "lm-eval", "extrapolate"])
def test_a_store_that_takes_no_record_is_said_before_the_measurement(
    command: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "records").write_text("mine")
    more = ("--tasks", "cab_recall") if command == "lm-eval" else ()
    said = cab_here(
        *(command, "--variant", "window", "--task", "mqar", "--checkpoint", weights, *more),
        *("--store", tmp_path),
    )
    assert said.code == 2
    assert "Records cannot be written" in said.err
