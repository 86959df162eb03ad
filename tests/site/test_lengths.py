"""What the harness measures at other lengths stands on its page."""

from pathlib import Path

import pytest
from made_records import made
from site_support import results_of

from cab.records.store import AtLength, Estimate
from cab.site.build import build_site
from cab.site.content import gather
from cab.site.lengths import lengths


def with_lengths(task: str, variant: str, **values: float):
    """Two seeds of an entry; values by factor, `x2=0.5`, and a test that ran out of memory."""
    return [
        record.model_copy(
            update={
                "metrics": record.metrics.model_copy(
                    update={
                        "lengths": (
                            *(
                                AtLength(
                                    factor=float(name[1:].replace("_", ".")),
                                    length=100,
                                    estimate=Estimate(
                                        value=value + 0.1 * seed, standard_error=0.01, n=10
                                    ),
                                )
                                for name, value in values.items()
                            ),
                            AtLength(factor=4, length=400, status="oom", message="none left"),
                        )
                    }
                )
            }
        )
        for seed, record in enumerate(made(variant, task, (0.5, 0.6)))
    ]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return results_of(
        tmp_path,
        [
            *with_lengths("mqar", "linear", x0_5=0.9, x1=0.5, x2=0.2),
            *with_lengths("mqar", "softmax", x0_5=0.9, x1=0.8, x2=0.7),
            *with_lengths("byte-lm", "softmax", x0_5=2.9, x1=1.95, x2=3.95),
        ],
    )


def test_means_over_seeds_and_ratios_of_losses_by_hand(results: Path):
    content = gather(results)
    rows = lengths(content, content.profiles[0])["lengths"]
    assert [(row.card.name, row.entry) for row in rows] == [
        ("byte-lm", "softmax"),
        ("mqar", "softmax"),
        ("mqar", "linear"),
    ]
    loss, best, _ = rows
    assert {factor: mean.point for factor, mean in best.means.items()} == pytest.approx(
        {0.5: 0.95, 1.0: 0.85, 2.0: 0.75}
    )
    assert best.endings == {4.0: "oom"}
    assert best.profile is None
    assert loss.profile.interpolation == pytest.approx(2.95 / 2.0)
    assert loss.profile.extrapolation == pytest.approx(4.0 / 2.0)


def test_the_page_shows_them(results: Path, tmp_path: Path):
    build_site(results, tmp_path / "site")
    page = (tmp_path / "site" / "lengths.html").read_text()
    assert "No published record" not in page
    assert page.count("<tr>") == 2 + 3
    assert "0.75 <small>" in page
    assert page.count(">oom<") == 3


def test_a_length_that_one_entry_alone_was_tested_at_has_its_column(tmp_path: Path):
    """`cab extrapolate` goes further than `cab run` does."""
    further = with_lengths("mqar", "linear", x1=0.5, x8=0.1)
    folder = results_of(tmp_path, [*further, *with_lengths("mqar", "softmax", x1=0.8)])
    content = gather(folder)
    assert lengths(content, content.profiles[0])["factors"] == [1.0, 4.0, 8.0]
    build_site(folder, tmp_path / "site")
    assert "8\u00d7" in (tmp_path / "site" / "lengths.html").read_text()
