"""Pages and `cab info` show the invariance that was measured of the installed source."""

from pathlib import Path

from cli_support import cab_here
from made_records import made
from site_support import results_of
from support import VARIANTS

from cab.records.by_variant import write_by_variant
from cab.records.invariance import FILE, Invariance, MeasuredInvariance
from cab.records.sources import installed_sources
from cab.site.build import build_site
from cab.site.content import gather


def entry(source: str, batch: float = 0.0) -> MeasuredInvariance:
    one = Invariance(batch=batch, decoding=3e-7, prefill=2.5e-7)
    return MeasuredInvariance(
        source=source, torch="2.13.0", processor="a <processor>", patterns={"cs": one}
    )


def test_pages_and_info_show_what_is_of_the_installed_source(tmp_path: Path) -> None:
    folder = results_of(tmp_path, made("linear", "mqar", (0.5, 0.6)))
    sources = installed_sources(VARIANTS, ["linear", "window"])
    write_by_variant(
        folder / FILE, {"linear": entry(sources["linear"], 1.23e-7), "window": entry("another")}
    )
    content = gather(folder)
    assert set(content.invariance) == {"linear"}
    assert any("results of window are not shown" in one for one in content.problems)
    build_site(folder, tmp_path / "site")
    page = (tmp_path / "site" / "variants" / "linear.html").read_text()
    row = page[page.index("<h2>Invariance") :].partition("</table>")[0]
    assert "Measured with PyTorch 2.13.0 on a &lt;processor&gt;" in row
    cells = ["differs by 1.2e-07", "differs by 3.0e-07", "differs by 2.5e-07"]
    assert all(f"<td>{cell}</td>" in row for cell in cells)
    assert "Invariance</h2>" not in (tmp_path / "site" / "variants" / "window.html").read_text()
    info = cab_here("info", "linear", "--json", CAB_RESULTS=str(folder)).document["invariance"]
    assert info["measured with"] == "PyTorch 2.13.0 on a <processor>, in float32"
    assert list(info["cs"].values()) == cells
    assert not cab_here("info", "window", "--json", CAB_RESULTS=str(folder)).document["invariance"]
