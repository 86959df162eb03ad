"""`cab bench` and `cab crossover` from the command line."""

import pytest
from cli_support import cab_here, write_variant

from cab.measure.record import read_rows

SMALL = ("--device", "cpu", "--heads", "2", "--head-dim", "8", "--seconds", "0", "--samples", "20")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--variant NAME, or --op NAME"),
        (("--variant", "softmax", "--op", "softmax"), "not both"),
        (("--variant", "sofmax"), "Did you mean softmax"),
        (("--op", "softmaxx"), "Did you mean softmax"),
        (("--op", "softmax", "--provider", "spda"), "Did you mean sdpa"),
        (("--op", "softmax", "--pass", "forward"), "There is no pass called 'forward'"),
        (("--op", "softmax", "--lengths", "256,many"), "not 'many'"),
        (("--op", "softmax", "--set", "window=3"), "--set goes with --variant"),
        (("--variant", "window", "--set", "windw=3"), "Did you mean window"),
        (("--variant", "window", "--pattern", "nc"), "does not offer nc"),
        (("--variant", "softmax", "--pattern", "ns", "--pass", "decode"), "Nothing is left"),
        (("--variant", "softmax", "--baseline", "linear,nothere"), "nothere"),
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


def test_a_variant_that_breaks_a_law_is_not_timed_and_one_that_ends_its_process_is_a_row(tmp_path):
    leaks = write_variant(tmp_path, "leaks", "return q + v.mean(dim=2, keepdim=True)")
    ends = write_variant(tmp_path, "ends", "os._exit(3)")
    shared = ("--pattern", "cs", *SMALL, "--lengths", "16", "--baseline", "none", "--pass", "fwd")
    said = cab_here("bench", "--variant", "leaks", "--include", leaks, *shared)
    assert said.code == 1
    assert "leaks breaks a law in cs and is not timed there" in said.err
    said = cab_here("bench", "--variant", "ends", "--include", ends, *shared, "--unchecked")
    assert said.code == 1
    assert "ended with status 3" in said.err


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
    assert "its own baseline" in said.err
