"""`cab probe --state-dtype --write` keeps what the page on the precision of states shows."""

import json
from pathlib import Path

import pytest
import torch
from cli_support import cab_here, cells_of
from made_records import made
from site_support import results_of
from support import VARIANTS

from cab.commands.measurements.probe_state import probe_state
from cab.errors import CabError
from cab.profiles import get_profile
from cab.records.by_variant import write_by_variant
from cab.records.parts import Estimate
from cab.records.precision import (
    FILE,
    MeasuredPrecision,
    Precision,
    RoundedState,
    read_precision,
    with_precision,
)
from cab.records.sources import installed_sources
from cab.registry import discover_tasks
from cab.running.trained import TrainedCell, build_model
from cab.site.build import build_site
from cab.site.content import gather
from cab.site.precision import fewest

TASKS = discover_tasks()


def estimate(value: float, error: float = 0.001) -> Estimate:
    return Estimate(value=value, standard_error=error, n=100)


def rounded(score_lost: float, size: float, error: float = 0.001) -> RoundedState:
    return RoundedState(
        lost=estimate(score_lost / 2), score_lost=estimate(score_lost, error), error=0.1, size=size
    )


def precision(version: int, **types: RoundedState) -> Precision:
    return Precision(
        version=version, profile="quick", seed=0, learning_rate=0.005, metric="accuracy",
        before=estimate(0.875), size=4096, rounded=types,
    )  # fmt: skip


def entry(source: str, **tasks: Precision) -> MeasuredPrecision:
    return MeasuredPrecision(source=source, torch="2.13.0", processor="a <chip>", tasks=tasks)


def test_the_smallest_type_without_loss_counts_its_standard_error() -> None:
    types = {
        "bfloat16": rounded(0.0, 2048),
        "int8": rounded(0.019, 1200),
        "int2": rounded(0.3, 300),
    }
    assert fewest(precision(1, **types)) == "int8"
    assert (
        fewest(precision(1, **types | {"int8": rounded(0.019, 1200, error=0.002)})) == "bfloat16"
    )
    assert fewest(precision(1, int2=rounded(0.3, 300))) == ""


def test_the_page_shows_what_is_of_the_installed_source_and_task(tmp_path: Path) -> None:
    folder = results_of(tmp_path, made("linear", "mqar", (0.5, 0.6)))
    sources = installed_sources(VARIANTS, ["linear", "window", "gla"])
    version = TASKS.card("mqar").version
    found = precision(version, bfloat16=rounded(-0.004, 2048), int2=rounded(0.25, 320))
    write_by_variant(
        folder / FILE,
        {
            "linear": entry(sources["linear"], mqar=found),
            "window": entry("another", mqar=found),
            "gla": entry(sources["gla"], mqar=found.model_copy(update={"version": version + 1})),
        },
    )
    content = gather(folder)
    assert set(content.precision) == {"linear", "gla"}
    assert any("results of window are not shown" in one for one in content.problems)
    build_site(folder, tmp_path / "site")
    page = (tmp_path / "site" / "precision.html").read_text()
    table = page[page.index("<tbody>") :].partition("</table>")[0]
    assert table.count("<tr>") == 1
    assert "linear" in table
    cells = ["4,096", "0.88", "\u22120.004 <small>± 0.001</small>", "0.250 <small>± 0.001</small>"]
    assert all(f'<td class="n">{cell}</td>' in table for cell in cells)
    assert "<td>bfloat16 <small>2,048 bytes</small></td>" in table
    assert page.index(">bfloat16<") < page.index(">int2<"), "types stand by their sizes"
    assert "Measured with PyTorch 2.13.0 on a &lt;chip&gt;" in page
    own = (tmp_path / "site" / "variants" / "linear.html").read_text()
    assert (
        '<td>int2</td><td class="n">320</td><td class="n">0.250 <small>± 0.001</small></td>' in own
    )
    other = (tmp_path / "site" / "variants" / "gla.html").read_text()
    assert "Precision of the state</h2>" not in other


def test_results_of_another_task_stay_where_the_conditions_are_the_same() -> None:
    one, other = precision(1, int8=rounded(0.0, 9)), precision(2, int8=rounded(0.1, 9))
    stored = {"linear": entry("here", mqar=one)}
    both = with_precision(stored, "linear", entry("here", parity=other))
    assert both["linear"].tasks == {"mqar": one, "parity": other}
    again = with_precision(stored, "linear", entry("changed", parity=other))
    assert again["linear"].tasks == {"parity": other}
    assert with_precision(both, "gla", entry("it", mqar=one)).keys() == {"linear", "gla"}


def test_a_file_of_something_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert read_precision(path) == {}
    path.write_text(json.dumps({"linear": {"source": "x"}}))
    with pytest.raises(CabError, match="is not a file of `cab probe --state-dtype --write`"):
        read_precision(path)
    path.write_text("{")
    with pytest.raises(CabError, match="is not JSON"):
        read_precision(path)


def untrained(rate: str, profile: str = "quick", *, unchecked: bool = False) -> TrainedCell:
    (cell,) = cells_of(
        ["linear"],
        profile=get_profile(profile),
        options={"train.learning_rate": rate},
        unchecked=unchecked,
    )
    made_task = TASKS.load("mqar")(cell.recipe)
    return TrainedCell(cell, made_task, build_model(cell, made_task).eval())


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAB_RESULTS", str(tmp_path))
    return tmp_path


def write(trained: TrainedCell, results: Path, *types: str) -> dict[str, MeasuredPrecision]:
    probe_state(trained, types, "softmax", 4, None, results / "runs", False, write=True)
    return read_precision(results / FILE)


def test_write_keeps_a_cell_at_a_learning_rate_of_the_task(results: Path) -> None:
    rate = TASKS.load("mqar").recipes["quick"].rates[-1]
    (found,) = write(untrained(f"{rate}"), results, "int8").values()
    assert found.source == installed_sources(VARIANTS, ["linear"])["linear"]
    one = found.tasks["mqar"]
    assert (one.learning_rate, one.seed, one.profile) == (rate, 0, "quick")
    assert one.before.n == 4 * len(TASKS.load("mqar").recipes["quick"].levels)
    assert one.size > one.rounded["int8"].size > one.size / 4
    document = json.loads((results / FILE).read_text())
    assert list(document) == ["linear"]


@pytest.mark.parametrize(
    ("rate", "profile", "unchecked"),
    [("0.0123", "quick", False), ("0.005", "smoke", False), ("0.005", "quick", True)],
)
def test_a_checkpoint_of_another_kind_is_not_kept(
    rate: str, profile: str, unchecked: bool, results: Path
) -> None:
    with pytest.raises(CabError, match=f"profile {profile}, is none. Omit --write."):
        write(untrained(rate, profile, unchecked=unchecked), results, "int8")
    assert not (results / FILE).exists()


def test_nothing_is_kept_where_no_type_gives_finite_outputs(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = untrained("0.005")
    with torch.no_grad():
        for name, parameter in trained.model.named_parameters():
            if "value" in name:
                parameter.mul_(1e6)  # beyond 65504, where float16 ends
    with pytest.raises(
        CabError, match=r"Nothing is kept of linear on mqar .* float16 is left out"
    ):
        write(trained, results, "float16")
    assert "not rounded" in capsys.readouterr().out, "what was found is printed all the same"
    assert not (results / FILE).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--write",), "--write keeps what --state-dtype measures. Add --state-dtype TYPES."),
        (
            ("--write", "--state-dtype", "int8", "--profile", "smoke"),
            "--write keeps results of scored tasks only, but mqar has no score in smoke",
        ),
        (
            ("--write", "--state-dtype", "int8", "--set", "train.steps=3"),
            "--set changes train.steps. Omit --write, or change train.learning_rate alone.",
        ),
        (
            ("--write", "--state-dtype", "int8", "--unchecked"),
            "--write keeps no results of unchecked variants. Omit --unchecked.",
        ),
    ],
)
def test_what_is_not_kept_is_refused_before_training(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ran = cab_here(
        "probe", "--variant", "linear", "--task", "mqar", *words, CAB_STORE=str(tmp_path / "runs")
    )
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "runs").exists()
