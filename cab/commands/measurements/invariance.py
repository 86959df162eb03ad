"""`cab check --invariance`: measure batch invariance and split prefill of variants."""

import json as json_
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cab.commands.common import output
from cab.commands.common.names import EVERY, given_names
from cab.records.files import try_writing, write_file
from cab.records.folders import refuse_package, results_folders
from cab.registry import Registry
from cab.taxonomy import VariantCard

if TYPE_CHECKING:
    from cab.records.invariance import MeasuredInvariance


def measure_invariance(
    variants: Registry[VariantCard],
    names: str,
    write: bool,
    results: Path | None,
    json: Path | None,
) -> None:
    """Measure what changes a variant's outputs besides their inputs, in float32 on the CPU.

    A row alone is compared with the same row in batches, and a prompt that is read in parts with
    the whole sequence at once. With write, variants whose source, PyTorch and processor are those
    of the file are not measured again.

    Args:
        names: variants, several as a,b, or all.
        json: also write what was found to this file.
    """
    asked = given_names([names])
    wanted = variants.names() if EVERY in asked else asked
    for name in wanted:
        variants.entry(name)

    from cab.analysis.invariance import measure
    from cab.records.by_variant import write_by_variant
    from cab.records.invariance import FILE, read_invariance

    path = results_folders(results).own / FILE
    stored: dict[str, MeasuredInvariance] = {}
    if write:
        refuse_package([path])
        try_writing(path, "What was measured", parents=True)
        stored = read_invariance(path)
    known, found = _current(stored, variants), {}
    for place, name in enumerate(wanted, 1):
        if name in known:
            found[name] = known[name]
            continue
        output.say(f"[{place}/{len(wanted)}] {name}")
        found[name] = stored[name] = measure(variants, name)
        if write:  # an interrupted run keeps what it has measured
            path.parent.mkdir(parents=True, exist_ok=True)
            write_by_variant(path, stored)
    if write:
        output.say(f"{path} holds {len(stored)} variants.")
    _print(found)
    if json is not None:
        report = {name: one.model_dump(mode="json") for name, one in found.items()}
        write_file(json, json_.dumps(report, indent=2) + "\n", "The report")


def _current(
    known: Mapping[str, "MeasuredInvariance"], variants: Registry[VariantCard]
) -> dict[str, "MeasuredInvariance"]:
    """What need not be measured again: of this source, PyTorch and processor."""
    from cab.records.by_variant import split_by_source
    from cab.records.sources import installed_sources
    from cab.running.environment import describe

    kept, _ = split_by_source(known, installed_sources(variants, known))
    machine = describe("cpu", 1)
    here = machine.torch, machine.cpu
    return {name: one for name, one in kept.items() if (one.torch, one.processor) == here}


def _print(found: Mapping[str, "MeasuredInvariance"]) -> None:
    from cab.records.invariance import words

    output.print_table(
        "Outputs in float32, relative differences",
        ("variant", "pattern", "alone and in a batch", "the same, by steps", "prompt in parts"),
        [
            (name, pattern, words(one.batch), words(one.decoding), words(one.prefill))
            for name, measured in found.items()
            for pattern, one in measured.patterns.items()
        ],
    )
    for said in _conditions(found.values()):
        output.out.print(f"Measured with {said}.", markup=False, soft_wrap=True)


def _conditions(found: Iterable["MeasuredInvariance"]) -> list[str]:
    return sorted({f"PyTorch {one.torch} on {one.processor}" for one in found})
