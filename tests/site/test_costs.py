"""Cost pages: fronts, and ratios on equal hardware."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_records import TASKS, VARIANTS, made
from site_support import results_of

from cab.scores.table import current, records_table
from cab.site.content import gather, slug
from cab.site.costs import pareto, ratios
from cab.site.formulas import complexity, decode_state
from cab.site.plots import front, lines
from cab.site.svg import COLOURS


def test_plots_are_clean_markup_that_the_style_sheet_colours() -> None:
    series = {"a & <b>": {1.0: 2.0, 2.0: 5.0}, "c": {1.0: 3.0, 2.0: 4.0}}
    families = {"a & <b>": "linear", "c": "sparse"}
    text = lines("name", series, families, ("length", "cost"), ("A title", "In words"))
    assert text == lines("name", series, families, ("length", "cost"), ("A title", "In words"))
    whole = ElementTree.fromstring(f"<p>{text}</p>".replace(" href=", " xhref="))
    root, key = whole
    ids = {element.attrib["id"] for element in whole.iter() if "id" in element.attrib}
    assert all(one.startswith("name-") for one in ids)
    assert [child.text for child in list(root)[:2]] == ["A title", "In words"]
    assert not [element for element in whole.iter() if "style" in element.attrib]
    assert not [colour for colour in COLOURS if colour in text]
    assert "a &amp; &lt;b&gt;" in text
    assert [name.split(maxsplit=1)[0] for name in key.itertext() if name.strip()] == ["a", "c"]
    assert [used.attrib["xhref"] for used in key.iter("use")] == ["#m-linear", "#m-sparse"]


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
        for task in ("mqar", "mirror")
        for variant, value in (("softmax", 0.9), ("none", 0.1), ("window", 0.5))
        for record in sized(variant, task, value, 1000)
    ]
    records += [*sized("performer", "mqar", 0.5, 1100), *sized("performer", "mirror", 0.5, 1250)]
    records += [*sized("linear", "mqar", 0.5, 1100), *sized("linear", "byte-lm", 0.5, 9000)]
    content = gather(results_of(tmp_path, records))
    board = content.profiles[0].board
    assert board.row("performer").size == pytest.approx(1.25)
    assert {row.entry: row.size_mark for row in board.rows if row.size_mark} == {
        "performer": "+25 % size"
    }


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
