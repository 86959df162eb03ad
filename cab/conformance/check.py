"""Check a variant against the laws and return the verdicts."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from cab.attention import Attention
from cab.conformance import (
    budget,
    causality,
    composition,
    cost,
    decoding,
    determinism,
    gradients,
    liveness,
    numerics,
    padding,
)
from cab.conformance.crashes import explain_crash
from cab.conformance.deadline import TooLongError, deadline
from cab.conformance.law import Finding, Law, Measured
from cab.conformance.precision import explain_cast, explain_precision, judge_in_float32
from cab.conformance.subject import DTYPES, LAYER, LAYERS, SHRUNK, Subject
from cab.registry import Registry, name_of_role
from cab.settings import parse_settings
from cab.taxonomy import Pattern, VariantCard

LAWS: tuple[Law, ...] = tuple(
    module.LAW
    for module in (
        causality,
        liveness,
        padding,
        gradients,
        determinism,
        numerics,
        decoding,
        cost,
        budget,
        composition,
    )
)


def subjects(
    variants: Registry[VariantCard],
    name: str,
    patterns: Iterable[Pattern],
    *,
    options: Mapping[str, Any],
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    device: str = "cpu",
) -> list[Subject]:
    """What is checked of a registered variant, one for each pattern.

    Raises:
        UnknownName: the name or a setting is unknown.
    """
    attention, reference = variants.load(name), variants.load(name_of_role(variants, "reference"))
    assert issubclass(attention, Attention)
    assert issubclass(reference, Attention)
    parse_settings(attention.Config, options, f"variant {name}")
    return [Subject(attention, one, options, dtypes, device, reference) for one in patterns]


@dataclass(frozen=True)
class Verdict:
    """The result of one law for a variant in one pattern."""

    law: str
    pattern: str
    gates: bool
    findings: tuple[Finding, ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the law found nothing."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON report; a difference that is not finite is written as text."""
        findings = [
            {**asdict(one), "moved": None if one.moved is None else f"{one.moved:.6g}"}
            for one in self.findings
        ]
        return {**asdict(self), "holds": self.holds, "findings": findings}


def check(subjects: Iterable[Subject], laws: Sequence[Law] = LAWS) -> list[Verdict]:
    """Check each variant against each law that applies to it."""
    return list(verdicts(subjects, laws))


def verdicts(
    subjects: Iterable[Subject],
    laws: Sequence[Law] = LAWS,
    begin: Callable[[Subject, Law], None] = lambda subject, law: None,
) -> Iterator[Verdict]:
    """Yield each verdict when its law ends; `begin` is called before each law."""
    for subject in subjects:
        for law in laws:
            begin(subject, law)
            verdict = hold(subject, law)
            if verdict is not None:
                yield verdict


def hold(subject: Subject, law: Law) -> Verdict | None:
    """Check one variant against one law; return None if the law does not apply to it.

    An exception of the variant is a finding. A variant whose outputs depend on its layer is
    checked in the first, the middle and the last layer.
    """
    started = time.perf_counter()
    findings: list[Finding] = []
    if note := explain_cast(subject):
        findings += [Finding(note)] if law is numerics.LAW else []
        kept = tuple(dtype for dtype in subject.dtypes if dtype != torch.bfloat16)
        subject = dataclasses.replace(subject, dtypes=kept)
    measured: dict[str, Any] = {}
    placed, threads = subject, torch.get_num_threads()
    torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
    try:
        if not law.asks(subject):
            return None
        with torch.random.fork_rng(devices=[]), deadline():
            for placed in _forms(subject, law):
                for said in law.run(placed):
                    if isinstance(said, Measured):
                        measured.setdefault(said.name, said.value)
                    else:
                        findings.append(_in_form(placed, said))
        if findings and law.rounds and (note := explain_precision(subject)):
            with torch.random.fork_rng(devices=[]), deadline():
                again = partial(_findings, law=law)
                findings = judge_in_float32(subject, findings, note, again)
            table = note.startswith("Part of the computation is in float32:")
            excused = "rounding of its float32 tables is excused"
            judged = "judged in float32, in which part of it computes"
            measured["precision"] = excused if table else judged
    except TooLongError:
        took = time.perf_counter() - started
        message = (
            f"The law was stopped after {took:.0f} s, before its end: the variant is too slow"
        )
        findings.append(_in_form(placed, Finding(message)))
    except Exception as error:  # the variant may raise anything
        findings.append(_in_form(placed, Finding(explain_crash(error, placed, law))))
    finally:
        torch.set_num_threads(threads)
    seconds = time.perf_counter() - started
    return Verdict(
        law.name, subject.pattern, law.gates, tuple(findings), measured, round(seconds, 3)
    )


def _findings(subject: Subject, law: Law) -> list[Finding]:
    return [
        _in_form(placed, said)
        for placed in _forms(subject, law)
        for said in law.run(placed)
        if isinstance(said, Finding)
    ]


def _forms(subject: Subject, law: Law) -> Iterator[Subject]:
    """The variant in its layers, and with small sizes in place of large ones."""
    yield from subject.placed
    if law.shrinks and subject.shrunk is not None:
        yield subject.shrunk


def _in_form(subject: Subject, finding: Finding) -> Finding:
    """Name the layer of a finding if it is not the middle one, and sizes that were shrunk."""
    said = "" if subject.layer == LAYER else f"As layer {subject.layer} of {LAYERS}: "
    if SHRUNK in subject.options.values():
        named = (f"{name} = {value}" for name, value in subject.options.items())
        said += f"With {', '.join(named)}: "
    return dataclasses.replace(finding, message=said + finding.message)
