"""The laws let a correct mixer pass, third parties use them as tests, and formulas are safe."""

import contextlib
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from cli_support import cab_here, environment
from support import VARIANTS

from cab.conformance import BrokenLaw, checks, deadline
from cab.conformance import check as conformance_check
from cab.conformance.check import LAWS, hold, subjects
from cab.conformance.subject import GEOMETRIES, SHRUNK, Subject
from cab.formula import evaluate
from cab.registry import discover_variants
from cab.taxonomy import Pattern

HERE = Path(__file__).parent
MIXER = HERE / "recurrent_mixer.py"

THIRD_PARTY = """
from cab.conformance import parametrize_with_checks
from mine import MineAttention


@parametrize_with_checks(MineAttention)
def test_my_attention_keeps_the_laws(check):
    check()
"""


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_a_correct_mixer_written_by_hand_keeps_every_law(law):
    variants = discover_variants((MIXER,))
    for subject in subjects(variants, "recurrent-mixer", [Pattern.CS, Pattern.CC], options={}):
        verdict = hold(subject, law)
        assert verdict is None or verdict.holds, verdict.findings


def test_settings_reach_the_laws():
    for options in ({"window": 2}, {"window": "5"}, {"window": 70}):
        for subject in subjects(VARIANTS, "window", [Pattern.CS], options=options):
            assert int(options["window"]) == subject.config["window"]
            assert all(hold(subject, law).holds for law in LAWS[:3])


def test_lengths_pass_every_size_of_the_config_and_no_two_dimensions_agree():
    subject = Subject(VARIANTS.load("window"), Pattern.CS, {"window": 20})
    assert {1, 2, 7, 17, 21, 63, 64, 65, 130} <= {shape.length for shape in subject.shapes()}
    heads, width = subject.geometry
    assert (heads, width) == GEOMETRIES[0]
    assert len({4, heads, width, heads * width, 29}) == 5


@pytest.mark.slow
def test_third_parties_run_the_laws_in_their_own_suite(tmp_path):
    assert cab_here("new", "variant", "mine", "--file", tmp_path / "mine.py").code == 0
    (tmp_path / "test_mine.py").write_text(THIRD_PARTY)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False
    )
    assert ended.returncode == 0, ended.stdout
    assert f"{4 * len(LAWS)} passed" in ended.stdout


def test_a_check_raises_with_the_findings():
    variants = discover_variants((HERE / "mutants" / "causal_flag_ignored.py",))
    named = dict(checks(variants.load("causal-flag-ignored")))
    with pytest.raises(BrokenLaw, match="changes output"):
        named["causality-cs"]()


def test_the_report_is_json_and_holds_every_finding(tmp_path):
    said = cab_here(
        *("check", "cubic", "--include", HERE / "mutants" / "cubic.py"),
        *("--law", "cost", "--law", "budget", "--json", tmp_path / "report.json"),
    )
    assert said.code == 1
    verdicts = json.loads((tmp_path / "report.json").read_text())["verdicts"]
    assert [(one["law"], one["holds"]) for one in verdicts] == [("cost", False), ("budget", True)]
    assert "N^2.9" in verdicts[0]["findings"][0]["message"]
    assert "time exponent" in verdicts[0]["measured"]


def test_determinism_reports_whether_a_row_is_the_same_alone_and_in_a_batch():
    variants = discover_variants()
    (subject,) = subjects(variants, "none", (Pattern.NS,), options={})
    verdict = hold(subject, next(law for law in LAWS if law.name == "determinism"))
    assert "batch" in verdict.measured["batch invariance"]


def test_holding_laws_exit_with_0_and_name_each_pattern():
    said = cab_here("check", "mean", "--law", "budget", "--pattern", "ns,cc", "--dtype", "float32")
    assert said.code == 0
    assert "All laws hold: 2 verdicts" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["windw"], ["windw", "window"]),
        (["window", "--law", "causalty"], ["causalty", "causality"]),
        (["window", "--dtype", "float16x"], ["float16x"]),
        (["window", "--pattern", "nc"], ["window", "nc", "ns, cs"]),
        (["window", "--pattern", "xx"], ["xx"]),
        (["window", "--set", "widow=3"], ["widow", "window"]),
        (["window", "--set", "window=0"], ["window"]),
        (["window", "--law", "budget", "--json", "/nowhere/at/all.json"], ["/nowhere"]),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_to_do(arguments, words):
    said = cab_here("check", *arguments)
    assert said.code == 2, said.err
    assert all(word in said.err for word in words)
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("2 M E", 30),
        ("E (E + 1)", 30),
        ("E + 1/H", 5.5),
        ("N^2 d", 160),
        ("N log(N) d", 80),
        ("abs(t - s) < window", False),
        ("not cross and t == s", False),
        ("t // window == s // window or s < 2", True),
        ("1.5 N", 6),
    ],
)
def test_formulas_are_read_as_on_paper(formula, value):
    names = {"N": 4, "M": 3, "E": 5, "H": 2, "d": 10, "window": 2, "t": 3, "s": 1, "cross": False}
    assert evaluate(formula, names) == value


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').getcwd()",
        "N.real",
        "[N]",
        "lambda: N",
        "N if N else 1",
        "N(",
        "q + 1",
        "''",
    ],
)
def test_formulas_hold_arithmetic_and_nothing_else(formula):
    with pytest.raises(ValueError, match="formula"):
        evaluate(formula, {"N": 4})


def test_threads_and_randomness_are_left_as_they_were():
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    for subject in subjects(VARIANTS, "mean", [Pattern.CS], options={}):
        for law in LAWS:
            hold(subject, law)
    assert torch.get_num_threads() == threads
    assert torch.random.get_rng_state().equal(before)


class Endless(VARIANTS.load("mean")):
    """Never answers at ordinary lengths, and catches what it can."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        while x.shape[1] > 60:
            with contextlib.suppress(Exception):
                sum(range(1000))
        return super().forward(x, context, key_padding_mask=key_padding_mask)


def test_a_law_that_does_not_end_is_stopped_with_a_finding(monkeypatch):
    limits = partial(deadline.deadline, processor=0.5, clock=60.0)
    monkeypatch.setattr(conformance_check, "deadline", limits)
    before = signal.getsignal(signal.SIGPROF)
    verdict = hold(Subject(Endless, Pattern.CS), LAWS[0])
    assert "was stopped after" in verdict.findings[-1].message
    assert signal.getsignal(signal.SIGPROF) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_sizes_beyond_the_usual_lengths_are_exceeded_and_made_small():
    subject = Subject(VARIANTS.load("window"), Pattern.CS, {"window": 500})
    assert [shape.length for shape in subject.large] == [501, 1001]
    assert subject.shrunk.config["window"] == SHRUNK
    assert Subject(VARIANTS.load("softmax"), Pattern.CS).shrunk is None
