"""Batch invariance and split prefill: the differences of modules that have known ones."""

import json
from pathlib import Path

import pytest
import torch
from cli_support import cab_here
from support import REPOSITORY, VARIANTS

from cab.analysis import invariance as measuring
from cab.analysis.invariance import BATCHES, LONGEST, invariance
from cab.conformance.subject import Subject
from cab.errors import CabError
from cab.records.by_variant import split_by_source, write_by_variant
from cab.records.invariance import (
    FILE,
    Invariance,
    MeasuredInvariance,
    read_invariance,
    words,
)
from cab.taxonomy import Pattern

Softmax = VARIANTS.load("softmax")


class OfItsBatch(Softmax):
    """Adds to every output a thousandth for each other row of the batch."""

    def forward(self, x, context=None, *, key_padding_mask=None):
        return super().forward(x, context) + (len(x) - 1) / 1000


class OfItsParts(Softmax):
    """Adds to what a part of more than one token gives a hundredth, and to its steps none."""

    def prefill(self, x, state):
        y, state = super().prefill(x, state)
        return y + (0.01 if x.shape[1] > 1 else 0), state


def subject(kind, pattern: str = "cs") -> Subject:
    return Subject(kind, Pattern(pattern))


def scale(kind, rows: int) -> float:
    """The largest output of softmax on the rows with which others are compared."""
    own = subject(kind).trained
    shape = own.typical(LONGEST)[-1]
    x = own.draw(max(BATCHES), shape.length, own.dim, seed="stream", dtype=torch.float32)
    with torch.no_grad():
        return float(own.build(shape, dtype=torch.float32)(x[:rows]).abs().amax())


def test_a_row_that_sees_its_batch_differs_by_what_the_largest_batch_adds() -> None:
    found = invariance(subject(OfItsBatch))
    assert found.batch == pytest.approx(0.015 / scale(Softmax, 1), rel=0.01)
    # Its steps are those of softmax.
    assert found.decoding == pytest.approx(0, abs=1e-5)
    assert found.prefill == pytest.approx(0.001 / (scale(OfItsBatch, 2)), rel=0.01)


def test_a_prompt_whose_parts_differ_from_the_whole_is_found() -> None:
    found = invariance(subject(OfItsParts))
    assert found.prefill == pytest.approx(0.01 / scale(Softmax, 2), rel=0.01)
    assert found.batch < 1e-5
    assert found.decoding < 1e-5


@pytest.mark.parametrize("pattern", ["ns", "nc", "cc"])
def test_only_what_decodes_has_steps(pattern: str) -> None:
    found = invariance(subject(Softmax, pattern))
    assert (found.decoding is None) == (found.prefill is None) == (pattern != "cc")
    assert found.batch < 1e-5


def test_words() -> None:
    assert [words(one) for one in (None, 0.0, 2.46e-7)] == [
        "-", "bitwise equal", "differs by 2.5e-07",
    ]  # fmt: skip


def entry(source: str, batch: float = 0.0, **changes) -> MeasuredInvariance:
    one = Invariance(batch=batch, decoding=3e-7, prefill=2.5e-7)
    known = {"torch": "2.13.0", "processor": "a <processor>", "patterns": {"cs": one}}
    return MeasuredInvariance(source=source, **{**known, **changes})


def test_a_file_is_read_as_it_was_written_and_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert read_invariance(path) == {}
    found = {"b": entry("1", 1e-7), "a": entry("2")}
    write_by_variant(path, found)
    assert read_invariance(path) == found
    assert [line[:4] for line in path.read_text().splitlines()[1:-1]] == ['"a":', '"b":']
    for text in ("[]", "{", '{"a": {"source": 1}}'):
        path.write_text(text)
        with pytest.raises(CabError, match=FILE):
            read_invariance(path)


def test_what_is_of_another_source_is_told_from_what_is_not_installed() -> None:
    found = {"here": entry("1"), "changed": entry("2"), "gone": entry("3")}
    kept, changed = split_by_source(found, {"here": "1", "changed": "9", "other": "3"})
    assert (set(kept), changed) == ({"here"}, ["changed"])


def test_the_command_measures_only_what_has_changed(tmp_path: Path, monkeypatch) -> None:
    asked = []
    measure = measuring.measure

    def counted(variants, name):
        asked.append(name)
        return measure(variants, name)

    monkeypatch.setattr(measuring, "measure", counted)
    report = tmp_path / "report.json"
    arguments = ("--invariance", "--results", tmp_path, "--write", "--json", report)
    first = cab_here("check", "linear,softmax", *arguments)
    assert first.code == 0, first.err
    path = tmp_path / FILE
    assert json.loads(report.read_text()) == json.loads(path.read_text())
    assert json.loads(report.read_text())["linear"]["torch"] == torch.__version__
    known = read_invariance(path)
    write_by_variant(
        path,
        {
            "linear": known["linear"].model_copy(update={"source": "another"}),
            "softmax": known["softmax"],
            "mean": known["softmax"].model_copy(update={"processor": "another"}),
            "not-installed": known["softmax"],
        },
    )
    asked.clear()
    again = cab_here("check", "linear,softmax,mean", *arguments)
    assert again.code == 0, again.err
    assert asked == ["linear", "mean"]
    after = read_invariance(path)
    assert after["linear"] == known["linear"]
    assert after["not-installed"] == known["softmax"]
    asked.clear()
    shown = cab_here("check", "linear", "--invariance", "--results", tmp_path)
    assert asked == ["linear"]
    assert "prompt in parts" in shown.out
    assert f"Measured with PyTorch {torch.__version__} on " in shown.out
    unknown = cab_here("check", "linaer", "--invariance")
    assert (unknown.code, "Did you mean linear" in unknown.err) == (2, True)


def test_what_belongs_to_the_laws_is_refused() -> None:
    found = cab_here("check", "linear", "--invariance", "--law", "decoding")
    assert found.code == 2
    assert "Leave out --pattern, --law, --dtype and --set." in found.err
    found = cab_here("check", "linear", "--write")
    assert (found.code, "Add --invariance." in found.err) == (2, True)


def test_the_command_says_which_variant_raised(tmp_path: Path) -> None:
    path = tmp_path / "raises.py"
    path.write_text(
        "from cab.attention import MultiHeadAttention\n"
        "from cab.registry import register_variant\n\n"
        '@register_variant(name="raises", family="linear", patterns="ns", summary="for a test")\n'
        "class Raises(MultiHeadAttention):\n"
        "    def attend(self, q, k, v, *, key_padding_mask=None):\n"
        '        raise RuntimeError("no such thing")\n'
    )
    found = cab_here("check", "raises", "--invariance", "--include", path)
    assert found.code == 2
    assert "raises cannot be measured, because it raised RuntimeError: no such thing." in found.err


def test_check_says_that_a_prompt_may_be_read_in_parts() -> None:
    found = cab_here("check", "mean", "--pattern", "cs,ns", "--law", "decoding")
    assert found.code == 0, found.err
    (line,) = (one for one in found.out.splitlines() if "prompt in parts" in one)
    assert line.split("  ", 1)[1].strip() == "equals the whole sequence"


def test_the_published_file_is_of_registered_patterns() -> None:
    found = read_invariance(REPOSITORY / "results" / FILE)
    assert len(found) > 150
    for name, one in found.items():
        if name in VARIANTS.entries:
            assert set(one.patterns) <= set(VARIANTS.card(name).patterns)
