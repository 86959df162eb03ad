"""`cab check`: check a variant against the laws."""

import json as json_
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.commands.common import output
from cab.commands.common.boards import Results
from cab.commands.common.options import Device, Include, Patterns, choose_device, read_patterns
from cab.commands.measurements.invariance import measure_invariance
from cab.errors import CabError, Interrupted, UnknownName, Unsupported, counted
from cab.records.files import try_writing, write_file
from cab.registry import Registry, discover_variants
from cab.settings import kinds_in, split_assignments
from cab.taxonomy import VariantCard

if TYPE_CHECKING:
    from cab.conformance.check import Verdict
    from cab.conformance.law import Law
    from cab.conformance.subject import Subject


SHOWN = 3
"""Findings of one law that are printed."""


def check(
    variant: Annotated[
        str, typer.Argument(help="A variant, or the Python file that registers it.")
    ],
    pattern: Patterns = None,
    law: Annotated[list[str] | None, typer.Option(help="Only this law. Repeatable.")] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="Only this dtype: float64, float32 or bfloat16. Repeatable."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of the variant. Repeatable."),
    ] = None,
    include: Include = None,
    device: Device = "auto",
    invariance: Annotated[
        bool,
        typer.Option(
            "--invariance",
            help="Instead of the laws, measure batch invariance and split prefill; several "
            "variants as a,b, or all.",
        ),
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="With --invariance: add to results/invariance.json."),
    ] = False,
    results: Results = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Also write the report to this file.")
    ] = None,
) -> None:
    """Check a variant against ten laws, in each pattern that its card lists.

    Exit 0 if all laws hold, 1 if one is broken, 2 for invalid input.
    """
    path = _file(variant)
    variants = discover_variants(tuple(include or ()))
    if path is not None:
        variant = _registered(path, variants)
    for problem in variants.problems:
        output.warn(problem)
    if json is not None:
        try_writing(json, "The report")
    if invariance:
        if pattern or law or dtype or set_:
            raise CabError(
                "--invariance measures every pattern of a variant at its defaults. Leave out "
                "--pattern, --law, --dtype and --set."
            )
        return measure_invariance(variants, variant, write, results, json)
    if write:
        raise CabError("--write keeps what --invariance measures. Add --invariance.")
    card = variants.card(variant)
    wanted = read_patterns(pattern or [])
    for one in wanted:
        if one not in card.patterns:
            offered = ", ".join(card.patterns)
            raise Unsupported(
                f"{variant} does not support pattern {one}. Its card lists {offered}."
            )

    from cab.conformance.check import LAWS, subjects

    named = {one.name: one for one in LAWS}
    for name in law or ():
        if name not in named:
            raise UnknownName("law", name, named)
    chosen = [named[name] for name in dict.fromkeys(law or named)]
    examined = subjects(
        variants,
        variant,
        wanted or card.patterns,
        options=split_assignments(set_ or []),
        dtypes=_dtypes(dtype),
        device=choose_device(device),
    )
    verdicts: list[Verdict] = []
    try:
        _hold(examined, chosen, verdicts)
    except Interrupted as interrupted:
        if verdicts:
            _print(variant, verdicts, [one.name for one in chosen])
        raise interrupted
    _print(variant, verdicts, [one.name for one in chosen])
    if json is not None:
        report = {"variant": variant, "verdicts": [one.as_dict() for one in verdicts]}
        write_file(json, json_.dumps(output.plain(report), indent=2) + "\n", "The report")
    if not all(one.holds for one in verdicts):
        raise typer.Exit(1)


def _hold(examined: "Sequence[Subject]", laws: "Sequence[Law]", into: list["Verdict"]) -> None:
    """Add the verdicts one by one, and print each on stderr when its law ends.

    On a terminal a line below them says which law runs.

    Raises:
        Interrupted: the message says which law was running.
    """
    from cab.conformance.check import verdicts

    running = ""

    def begin(subject: "Subject", law: "Law") -> None:
        nonlocal running
        running = f"law {law.name} in pattern {subject.pattern}"
        status.update(f"{running} ({counted(len(into), 'verdict')} so far)")

    with output.err.status("") as status:
        try:
            for verdict in verdicts(examined, laws, begin):
                into.append(verdict)
                result = "holds" if verdict.holds else "FAILS"
                place = f"{verdict.law}, {verdict.pattern}"
                output.say(f"{place}: {result} ({verdict.seconds:.1f} s)")
        except Interrupted:
            raise Interrupted(f"Stopped in {running}.") from None


def _file(given: str) -> Path | None:
    """The file that was given instead of a variant's name, which has neither a dot nor a slash.

    Raises:
        CabError: there is no such file.
    """
    if not given.endswith(".py") and Path(given).name == given:
        return None
    path = Path(given).expanduser().resolve()
    if not path.is_file():
        raise CabError(
            f"There is no file {given}. Give the name of a variant or an existing file."
        )
    return path


def _registered(path: Path, variants: Registry[VariantCard]) -> str:
    """The variant that a file registers, which is added unless it is there already.

    Raises:
        CabError: it registers none.
    """
    if not any(entry.path == path for entry in variants.entries.values()):
        if kinds_in(path) == ["task"]:
            raise CabError(f"{path} registers a task, but `cab check` checks variants only.")
        variants.add_file(path)
    return next(name for name, entry in variants.entries.items() if entry.path == path)


def _dtypes(names: list[str] | None) -> tuple[Any, ...]:
    from cab.conformance.subject import DTYPES, name_of

    known = {name_of(dtype): dtype for dtype in DTYPES}
    for name in names or ():
        if name not in known:
            raise UnknownName("dtype", name, known)
    return tuple(known[name] for name in names or known)


def _print(variant: str, verdicts: Sequence["Verdict"], laws: Sequence[str]) -> None:
    """Print the matrix of laws and patterns, the measurements, and the findings.

    A crash, and the note on precision, are printed once.
    """
    patterns = list(dict.fromkeys(one.pattern for one in verdicts))
    by_place = {(one.law, one.pattern): one for one in verdicts}

    def cell(law: str, pattern: str) -> str:
        verdict = by_place.get((law, pattern))
        return "-" if verdict is None else "holds" if verdict.holds else "FAILS"

    rows = [(law, *(cell(law, pattern) for pattern in patterns)) for law in laws]
    output.print_table(f"Laws of {variant}", ("law", *patterns), rows)
    names = list(dict.fromkeys(name for one in verdicts for name in one.measured))
    facts = [(name, *(_fact(verdicts, pattern, name) for pattern in patterns)) for name in names]
    if decoding := [one for one in verdicts if one.law == "decoding" and one.holds]:
        equal = {one.pattern: "equals the whole sequence" for one in decoding}
        facts.append(("prompt in parts", *(equal.get(one, "-") for one in patterns)))
    if facts:
        output.print_table("Measured", ("", *patterns), facts)
    from cab.conformance.precision import BEGINS

    told: set[str] = set()
    crashes: dict[str, list[str]] = {}
    for verdict in verdicts:
        for finding in verdict.findings[:SHOWN]:
            crash = _crash(finding.message)
            if finding.message in told:
                continue
            if finding.message.startswith(BEGINS):
                told.add(finding.message)
            if crash in crashes:
                crashes[crash].append(f"{verdict.law} {verdict.pattern}")
                continue
            if crash:
                crashes[crash] = []
            output.out.print(f"{verdict.law}, {verdict.pattern}: {finding}.", markup=False)
        if len(verdict.findings) > SHOWN:
            more = len(verdict.findings) - SHOWN
            output.out.print(
                f"{verdict.law}, {verdict.pattern}: {more} more; use --json FILE for all."
            )
    for crash, places in crashes.items():
        if places:
            text = f"The same error ({crash}) ended {', '.join(places)}."
            output.out.print(text, markup=False)
    broken = sum(not one.holds for one in verdicts)
    total = counted(len(verdicts), "verdict")
    seconds = f"{sum(one.seconds for one in verdicts):.0f} s"
    text = f"{broken} of {total} failed" if broken else f"All laws hold: {total}"
    output.out.print(f"{text} in {seconds}.")


def _crash(message: str) -> str:
    """What was raised, and where, if a finding is an exception of the variant, else nothing."""
    text = message.removeprefix("It raised ")
    return "" if text == message else text.partition(", with ")[0]


def _fact(verdicts: Sequence["Verdict"], pattern: str, name: str) -> str:
    values = [v.measured[name] for v in verdicts if v.pattern == pattern and name in v.measured]
    if not values:
        return "-"
    if isinstance(values[0], dict):
        return "; ".join(f"{key}: {number}" for key, number in values[0].items())
    return str(values[0])
