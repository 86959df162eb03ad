"""`cab bench` and `cab crossover` from the command line."""

import pytest
from cli_support import cab_here, write_variant

from cab.commands.measurements.bench_table import print_rows
from cab.errors import CabError
from cab.measure.cell import row_key
from cab.measure.points import MechanismName, Point
from cab.measure.protocol import Request, Runner, plan_apart, remaining
from cab.measure.record import BenchRow, read_rows, write_rows
from cab.records.files import alone
from cab.registry import discover_variants
from cab.taxonomy import Pattern

SMALL = ("--device", "cpu", "--heads", "2", "--head-dim", "8", "--seconds", "0", "--samples", "20")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Give either --variant NAME or --op NAME, and not both."),
        (("--variant", "softmax", "--op", "softmax"), "and not both"),
        (("--variant", "sofmax"), "Did you mean softmax"),
        (("--op", "softmaxx"), "Did you mean softmax"),
        (("--op", "softmax", "--implementation", "spda"), "Did you mean sdpa"),
        (("--op", "softmax:spda"), "Did you mean sdpa"),
        (("--op", "softmax", "--pass", "forward"), "There is no pass called 'forward'"),
        (("--op", "softmax", "--lengths", "256,many"), "not 'many'"),
        (("--op", "softmax", "--set", "window=3"), "--set needs --variant; for operators"),
        (("--variant", "window", "--set", "windw=3"), "Did you mean window"),
        (
            ("--variant", "window", "--pattern", "nc"),
            "window does not support nc (noncausal cross).",
        ),
        (
            ("--variant", "softmax", "--pattern", "ns", "--pass", "decode"),
            "There is nothing to measure. Skipping decode in ns",
        ),
        (("--variant", "softmax", "--baseline", "linear,nothere"), "nothere"),
        (("--variant", "softmax", "--resume", "--json", "rows.json"), "--json FILE.jsonl"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(arguments, says):
    said = cab_here("bench", *arguments)
    assert said.code == 2
    assert says in said.err


def test_operators_are_measured_into_a_table_rows_and_plots(tmp_path):
    said = cab_here(
        *("bench", "--op", "softmax", "--op", "linear", "--pattern", "cs", *SMALL),
        *("--lengths", "16,40", "--pass", "fwd_no_grad", "--baseline", "softmax:eager"),
        *("--json", tmp_path / "rows.json", "--plot", tmp_path / "plots"),
    )
    assert said.code == 0, said.err
    assert "linear:chunked" in said.out
    assert "Noise floor" in said.out
    rows = read_rows(tmp_path / "rows.json")
    assert {row.length for row in rows} == {16, 40}
    by_subject = {row.subject: row for row in rows if row.length == 40}
    assert by_subject["softmax:flex"].status == "unsupported"
    sdpa = by_subject["softmax:sdpa"]
    assert sdpa.status == "ok"
    assert sdpa.against["softmax:eager"].time > 0
    assert sdpa.command.startswith("cab bench --op softmax")
    assert len({row.invocation for row in rows}) == 1
    assert len(list((tmp_path / "plots").glob("*.svg"))) == 3


def as_if_quiet(target):
    """The rows of a file, as if nothing else had run beside them, as the tests do."""
    rows = [row.model_copy(update={"waited": 0.0}) for row in read_rows(target)]
    write_rows(rows, target)
    return rows


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path):
    target = tmp_path / "rows.jsonl"
    asked = ("bench", "--op", "linear:chunked", "--pattern", "ns", *SMALL, "--pass", "fwd")
    asked += ("--baseline", "linear:reference", "--json", target)
    assert cab_here(*asked, "--lengths", "16,24").code == 0
    first = {row.length: row for row in as_if_quiet(target) if row.role == "candidate"}
    lines = target.read_text().splitlines(keepends=True)
    target.write_text("".join(line for line in lines if '"length": 24,' not in line))
    said = cab_here(*asked, "--lengths", "16,24,32", "--resume")
    assert said.code == 0, said.err
    assert "[2/2]" in said.err
    rows = [row for row in read_rows(target) if row.role == "candidate"]
    assert [row.length for row in rows] == [16, 24, 32]
    assert rows[0] == first[16]
    assert rows[1] != first[24]


def test_a_cell_that_was_disturbed_is_said_and_measured_again(tmp_path, capsys):
    target = tmp_path / "rows.jsonl"
    asked = ("bench", "--op", "linear:chunked", "--pattern", "ns", *SMALL, "--pass", "fwd")
    asked += ("--baseline", "none", "--json", target, "--lengths", "16,24")
    assert cab_here(*asked).code == 0
    quiet = as_if_quiet(target)
    disturbed = quiet[1].model_copy(update={"waited": 0.5})
    write_rows([quiet[0], disturbed], target)
    print_rows(read_rows(target))
    assert "1 rows are disturbed" in " ".join(capsys.readouterr().out.split())
    said = cab_here(*asked, "--resume")
    assert said.code == 0, said.err
    assert "1 rows of" in said.err
    assert "[1/1]" in said.err
    first, second = read_rows(target)
    assert first == quiet[0]
    assert second.length == disturbed.length
    assert second.measured > disturbed.measured


def test_what_was_measured_of_another_source_is_said_and_measured_again(tmp_path):
    target = tmp_path / "rows.jsonl"
    asked = ("bench", "--variant", "mean", "--variant", "none", "--pattern", "ns", "--heads", "2")
    asked += ("--head-dim", "4", "--lengths", "16", "--pass", "fwd", "--samples", "20")
    asked += ("--seconds", "0.01", "--baseline", "none", "--json", target)
    assert cab_here(*asked).code == 0
    mean, none = sorted(as_if_quiet(target), key=lambda row: row.subject)
    write_rows([mean.model_copy(update={"source_hash": "0" * 64}), none], target)
    said = cab_here(*asked, "--resume")
    assert said.code == 0, said.err
    assert "The source of mean has changed since" in " ".join(said.err.split())
    again = {(row.subject, row.role): row for row in read_rows(target)}
    assert again["mean", "candidate"].source_hash == mean.source_hash
    assert again["mean", "candidate"].measured > mean.measured
    assert len(read_rows(target)) == len(again)


def test_two_runs_do_not_write_to_one_file(tmp_path):
    target = tmp_path / "rows.jsonl"
    asked = ("bench", "--op", "linear:chunked", "--pattern", "ns", *SMALL, "--pass", "fwd")
    asked += ("--baseline", "none", "--json", target, "--lengths", "16")
    with alone(target, "cab bench"):
        said = cab_here(*asked)
    assert said.code == 2
    assert f"Another cab bench is writing to {target}." in said.err
    assert not target.exists()
    assert cab_here(*asked).code == 0
    assert list(tmp_path.iterdir()) == [target]
    beside = target / "rows.jsonl"  # no folder
    with pytest.raises(CabError, match=f"{beside} cannot be written"), alone(beside, "cab bench"):
        pass


def test_a_line_that_was_cut_off_in_its_middle_is_measured_again(tmp_path):
    target = tmp_path / "rows.jsonl"
    asked = ("bench", "--op", "linear:chunked", "--pattern", "ns", *SMALL, "--pass", "fwd")
    asked += ("--baseline", "none", "--json", target, "--lengths", "16,24")
    assert cab_here(*asked).code == 0
    as_if_quiet(target)
    one, other = target.read_text().splitlines(keepends=True)
    target.write_text(one + other[:200])
    said = cab_here(*asked, "--resume")
    assert said.code == 0, said.err
    assert "is incomplete; its cell is measured anew" in said.err
    assert "[1/1]" in said.err
    assert sorted(row.length for row in read_rows(target)) == [16, 24]


def test_every_variant_is_measured_apart_and_what_a_pattern_lacks_is_left_out():
    variants = discover_variants(())
    names = [MechanismName(card.name) for card in variants.cards()]
    at = Point(Pattern.CC, "fwd_no_grad", 1, 1, 2, 8)
    request = Request(names, [MechanismName("softmax")], at, [16, 32], ["fwd"], [Pattern.CC])
    planned = plan_apart(request, variants)
    cross = [card.name for card in variants.cards() if Pattern.CC in card.patterns]
    assert sorted(name for cell in planned.cells for name in cell.candidates) == sorted(2 * cross)
    assert all(len(cell.candidates) == 1 for cell in planned.cells)
    assert any("window does not support cc" in sentence for sentence in planned.left_out)
    rows = [BenchRow(**row_key(planned.cells[0], planned.cells[0].mechanisms[0]), status="error")]
    assert remaining(planned.cells, rows) == list(planned.cells[1:])


def test_a_pattern_that_a_variant_lacks_costs_it_no_other_pattern():
    variants = discover_variants(())
    names = [MechanismName(card.name) for card in variants.cards()]
    at = Point(Pattern.CC, "fwd_no_grad", 1, 1, 2, 8)
    asked = [Pattern.NS, Pattern.CS]
    planned = plan_apart(Request(names, [], at, [16], ["fwd"], asked), variants)
    offered = [(c.name, p) for c in variants.cards() for p in asked if p in c.patterns]
    found = [(name, cell.point.pattern) for cell in planned.cells for name in cell.candidates]
    assert sorted(found) == sorted(offered)
    assert ("additive", Pattern.NS) in found
    assert ("gla", Pattern.CS) in found


def test_a_variant_that_breaks_a_law_is_not_timed_and_one_that_ends_its_process_is_a_row(tmp_path):
    leaks = write_variant(tmp_path, "leaks", "return q + v.mean(dim=2, keepdim=True)")
    ends = write_variant(tmp_path, "ends", "os._exit(3)")
    shared = ("--pattern", "cs", *SMALL, "--lengths", "16", "--baseline", "none", "--pass", "fwd")
    said = cab_here("bench", "--variant", "leaks", "--include", leaks, *shared)
    assert said.code == 1
    assert "leaks breaks a law in pattern cs, so it is not timed there." in said.err
    said = cab_here("bench", "--variant", "ends", "--include", ends, *shared, "--unchecked")
    assert said.code == 1
    assert "the cell's process ended with status 3 before it was finished" in said.err


@pytest.mark.parametrize("status", ["impossible", "refused"])
def test_what_cannot_be_true_fails_the_run(monkeypatch, tmp_path, status):
    told = tmp_path / "rows.json"
    asked = ("bench", "--op", "linear:chunked", "--pattern", "cs", *SMALL, "--lengths", "16")
    asked += ("--pass", "fwd", "--baseline", "none", "--json", told)
    assert cab_here(*asked).code == 0
    (row,) = read_rows(told)
    timing = row.timing if status == "impossible" else None
    changed = row.model_copy(update={"status": status, "timing": timing, "message": "planted"})

    def run_cell(runner, cell):
        runner.finished(cell, [changed])
        return [changed]

    monkeypatch.setattr(Runner, "run_cell", run_cell)
    said = cab_here(*asked)
    assert said.code == 1
    assert f"{status}. planted" in said.err


def test_crossover_answers_for_time_and_memory(tmp_path):
    said = cab_here(
        *("crossover", "linear:chunked", "--baseline", "softmax:eager", "--pattern", "cs"),
        *(*SMALL, "--pass", "fwd_no_grad", "--shortest", "64", "--longest", "512", "--json"),
        *("--rows", tmp_path / "rows.jsonl"),
    )
    assert said.code == 0, said.err
    memory = next(a for a in said.document["crossovers"] if a["quantity"] == "memory")
    assert memory["verdict"] in ("from", "always")
    assert {a["quantity"] for a in said.document["crossovers"]} == {"time", "memory"}
    assert 512 in {row.length for row in read_rows(tmp_path / "rows.jsonl")}


def test_a_baseline_cannot_be_compared_with_itself():
    said = cab_here("crossover", "softmax", "--baseline", "softmax")
    assert said.code == 2
    assert "softmax is its own --baseline; name another one." in said.err
