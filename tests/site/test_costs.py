"""Cost pages: fronts, ratios on equal hardware, kernels against length."""

from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli_support import make_record
from made_records import TASKS, VARIANTS, made
from site_support import results_of

from cab.measure.record import BenchRow, MemoryUse, Timing, write_rows
from cab.scores.table import current, records_table
from cab.site.build import files
from cab.site.content import complexity, decode_state, gather, slug
from cab.site.costs import (
    drawn,
    efficiency_lengths,
    kernel_tables,
    over_budget,
    pareto,
    ratios,
)
from cab.site.plots import COLOURS, front, lines


def bench_row(subject: str, length: int, seconds: float, role: str = "candidate") -> BenchRow:
    timing = Timing(
        timer="perf_counter", samples=(seconds,) * 3, host_samples=(), warm_samples=(),
        median=seconds, low=seconds, high=seconds, p20=seconds, p80=seconds, warm_median=None,
        tokens_per_second=length / seconds, prepare_seconds=0, launch_bound=False, noise_floor=0,
    )  # fmt: skip
    memory = MemoryUse(peak=8 * length, workspace=0, outputs=0, saved=None, held=None, state=None)
    return BenchRow(
        subject=subject, role=role, operator="", name=subject, options={}, pattern="ns",
        passage="fwd", length=length, keys=length, batch=1, heads=4, key_heads=4, head_width=64,
        value_width=64, window=0, alignment="bottom_right", dtype="float32", status="ok",
        timing=timing, memory=memory, seed=0, environment=make_record().environment,
        measured=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Softmax is quadratic, linear attention linear; they meet at 1,024 tokens.

    SDPA, beside which all was measured, is twice as fast as softmax.
    """
    (tmp_path / "kernels").mkdir()
    rows = [
        row
        for n in (256, 512, 1024, 2048, 4096)
        for row in (
            bench_row("softmax", n, 1e-9 * n * n),
            bench_row("sdpa", n, 0.5e-9 * n * n, "baseline"),
            bench_row("linear", n, 1.024e-6 * n),
            *(bench_row(f"other-{k:02d}", n, 1e-5 * n * (1 + k)) for k in range(20)),
        )
    ]
    write_rows(rows, tmp_path / "kernels" / "a-laptop.jsonl")
    return tmp_path


def test_kernels_are_drawn_per_machine_with_their_crossings(measured: Path) -> None:
    (machine,) = kernel_tables(gather(measured).kernels, "softmax")
    assert machine.host.startswith("a-laptop: some, 1 thread")
    time, memory = machine.tables
    assert (time.measure, memory.measure) == ("milliseconds", "megabytes")
    assert time.baselines == ("softmax", "sdpa")
    assert time.crossings["linear"] == pytest.approx({"softmax": 1024, "sdpa": 2048})
    assert time.crossings["other-19"] == {}
    assert "sdpa" not in time.crossings
    assert time.series["softmax"][2048] == pytest.approx(1e-6 * 2048**2)
    assert len(time.series) == 23
    (first, _) = drawn([machine])[0]["figures"]
    assert ">linear</text>" in first[1]
    assert ">other-19</text>" not in first[1]
    lengths = {
        (table.measure, baseline): found
        for _, table, baseline, found in efficiency_lengths([machine], "linear")
    }
    assert lengths == {
        ("milliseconds", "softmax"): pytest.approx(1024),
        ("milliseconds", "sdpa"): pytest.approx(2048),
        ("megabytes", "softmax"): None,
        ("megabytes", "sdpa"): None,
    }
    assert efficiency_lengths([machine], "softmax") == []


def test_plots_are_clean_markup_that_the_style_sheet_colours() -> None:
    series = {"a & <b>": {1.0: 2.0, 2.0: 5.0}, "c": {1.0: 3.0, 2.0: 4.0}}
    text = lines("name", series, ("length", "cost"), ("A title", "In words"))
    assert text == lines("name", series, ("length", "cost"), ("A title", "In words"))
    root = ElementTree.fromstring(text.replace(" href=", " xhref="))
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    assert all(one.startswith("name-") for one in ids)
    assert [child.text for child in list(root)[:2]] == ["A title", "In words"]
    assert not [element for element in root.iter() if "style" in element.attrib]
    assert not [colour for colour in COLOURS if colour in text]
    assert "a &amp; &lt;b&gt;" in text


def test_the_front_holds_what_no_other_beats() -> None:
    points = [("cheap", 1, 0.2), ("good", 5, 0.9), ("worse", 6, 0.8), ("twin", 5, 0.9)]
    assert front(points) == {"cheap", "good", "twin"}


def test_ratios_are_taken_on_equal_tasks() -> None:
    def cost(variant, task, flops):
        (record,) = made(variant, task, (0.5,))
        return record.model_copy(update={"cost": record.cost.model_copy(update={"flops": flops})})

    records = [
        cost("softmax", "mqar", 10), cost("softmax", "mirror", 4),
        cost("linear", "mqar", 20), cost("linear", "mirror", 2),
        cost("performer", "regress", 3),
    ]  # fmt: skip
    cells = current(records_table(records), TASKS, "quick")
    found = ratios(cells, "flops", "softmax")
    assert found == pytest.approx({"softmax": 1.0, "linear": (2 * 0.5) ** 0.5})
    assert ratios(cells[cells["entry"] != "softmax"], "flops", "softmax") == {}


def test_memory_is_compared_on_equal_hardware(tmp_path: Path) -> None:
    def on(cpu, variant, value, peak):
        return [
            record.model_copy(
                update={
                    "environment": record.environment.model_copy(update={"cpu": cpu}),
                    "cost": record.cost.model_copy(update={"peak_bytes": peak, "flops": 7}),
                }
            )
            for record in made(variant, "mqar", (value, value + 0.01))
        ]

    records = [
        *on("one", "softmax", 0.9, 100), *on("one", "none", 0.1, 50),
        *on("one", "linear", 0.5, 80), *on("another", "performer", 0.5, 10),
    ]  # fmt: skip
    content = gather(results_of(tmp_path, records))
    operations, memory = pareto(content, content.profiles[0])["figures"][:2]
    assert {point.entry for point in operations["points"]} >= {"linear", "performer"}
    assert memory["host"] == "one, 1 thread"
    assert {point.entry: point.x for point in memory["points"]}["linear"] == pytest.approx(0.8)
    assert "performer" not in {point.entry for point in memory["points"]}


def test_what_is_over_the_budget_of_parameters_is_known_by_its_worst_task(tmp_path: Path) -> None:
    def sized(variant, task, value, parameters):
        return [
            record.model_copy(
                update={"variant": record.variant.model_copy(update={"parameters": parameters})}
            )
            for record in made(variant, task, (value, value + 0.01))
        ]

    records = [
        record
        for task in ("mqar", "selective-copy")
        for variant, value in (("softmax", 0.9), ("none", 0.1), ("window", 0.5))
        for record in sized(variant, task, value, 1000)
    ]
    records += [*sized("gla", "mqar", 0.5, 1100), *sized("gla", "selective-copy", 0.5, 1250)]
    records += [*sized("linear", "mqar", 0.5, 1100), *sized("linear", "byte-lm", 0.5, 9000)]
    content = gather(results_of(tmp_path, records))
    assert over_budget(content.profiles[0], "softmax") == {"gla": pytest.approx(1.25)}
    page = files(content)["index.html"]
    assert "+25 % size</small>" in page


def test_complexity_is_read_off_the_formula() -> None:
    assert complexity(VARIANTS["softmax"]) == "quadratic"
    assert complexity(VARIANTS["linear"]) == "linear"
    assert complexity(VARIANTS["axial"]) == "subquadratic"
    assert {complexity(card) for card in VARIANTS.values()} <= {
        "linear", "subquadratic", "quadratic",
    }  # fmt: skip


def test_the_decode_state_is_that_of_the_settings_that_ran() -> None:
    assert decode_state(VARIANTS["softmax"], {}, 1024) == 2 * 1024 * 16
    assert decode_state(VARIANTS["performer"], {"features": 64}, 1024) == 64 * 17
    assert decode_state(VARIANTS["performer"], {}, 1024) is None
    assert decode_state(VARIANTS["nystrom"], {}, 1024) is None


def test_addresses_are_plain_and_no_two_names_share_one() -> None:
    names = ["linear", "Linear", "<img>", "img", "a/b", "a-b", "../x", "é", "", "-"]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(one and one.replace("-", "").isalnum() and one.isascii() for one in slugs)
    assert slug("gated-deltanet") == "gated-deltanet"
