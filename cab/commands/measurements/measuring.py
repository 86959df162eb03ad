"""Options and helpers that `cab bench` and `cab crossover` share."""

import os
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.errors import CabError, UnknownName
from cab.registry import Registry, name_of_role
from cab.taxonomy import Pattern, VariantCard

if TYPE_CHECKING:
    from cab.measure.points import Cell, MechanismName

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of the variants, as KEY=VALUE. Repeatable."),
]
Dtype = Annotated[str, typer.Option(help="float64, float32, bfloat16 or float16.")]
Heads = Annotated[int, typer.Option(min=1, help="Number of query heads.")]
HeadDim = Annotated[int, typer.Option("--head-dim", min=1, help="Width of a head.")]
Batch = Annotated[int, typer.Option(min=1, help="Sequences per batch.")]
Tokens = Annotated[
    int,
    typer.Option(min=0, help="Choose the batch so that batch x length is this; 0: use --batch."),
]
Window = Annotated[int, typer.Option(min=0, help="Window of an operator, in tokens; 0: none.")]
Threads = Annotated[
    int, typer.Option(min=0, help="CPU threads; 0: OMP_NUM_THREADS, otherwise all cores.")
]
Samples = Annotated[
    int, typer.Option(min=20, help="Minimum number of samples per mechanism and point.")
]
Seconds = Annotated[
    float,
    typer.Option(min=0.0, help="Keep sampling noisy points, up to about this many seconds each."),
]
TimeLimit = Annotated[
    float,
    typer.Option(min=1.0, help="Seconds per point; mechanisms that need more are not timed."),
]
MemoryLimit = Annotated[float, typer.Option(min=0.1, help="GiB of memory per point, on a CPU.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**31 - 1, help="Seed of inputs and of the order of cells.")
]
Unchecked = Annotated[
    bool,
    typer.Option(
        "--unchecked", help="Skip `cab check` of the variants; rows are marked unchecked."
    ),
]


def read_list(text: str, option: str) -> list[str]:
    """Split `a,b,c` into words.

    Raises:
        CabError: the list is empty.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise CabError(f"{option} is empty; give one or more values, as a,b.")
    return words


def read_lengths(text: str) -> list[int]:
    """Parse `256,512` as positive whole numbers, sorted.

    Raises:
        CabError: a word is not a positive whole number.
    """
    words = read_list(text, "--lengths")
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise CabError(f"--lengths needs positive whole numbers, not {word!r}.")
    return sorted({int(word) for word in words})


def read_choice(text: str, known: Iterable[str], kind: str) -> str:
    """Return `text` if it is one of the known words.

    Raises:
        UnknownName: it is not; the message suggests similar words.
    """
    known = list(known)
    if text not in known:
        raise UnknownName(kind, text, known)
    return text


def read_mechanism(
    text: str,
    variants: Registry[VariantCard],
    options: Mapping[str, str],
    include: tuple[Path, ...],
) -> "MechanismName":
    """Parse a variant's name or OPERATOR:IMPLEMENTATION.

    Raises:
        UnknownName: the name does not exist, or the variant lacks a setting.
    """
    from cab.measure.operators import get_operator
    from cab.measure.points import MechanismName
    from cab.settings import parse_settings

    operator, colon, implementation = text.partition(":")
    if colon:
        known = get_operator(operator).implementations
        if implementation not in known:
            raise UnknownName(f"implementation of {operator}", implementation, known)
        return MechanismName(implementation, operator)
    attention: Any = variants.load(text)
    if options:
        parse_settings(attention.Config, options, f"variant {text}")
    return MechanismName(text, options=dict(options), include=include)


def standard_baselines(variants: Registry[VariantCard]) -> list[str]:
    """Return the names of the reference and of all its reimplementations."""
    identical = [card.name for card in variants.cards() if card.role == "reimplementation"]
    return [name_of_role(variants, "reference"), *identical]


def thread_count(given: int) -> int:
    """Return the number of CPU threads of a cell."""
    from cab.running.environment import usable_cores

    return given or int(os.environ.get("OMP_NUM_THREADS") or 0) or usable_cores()


def refused_variants(
    cells: Sequence["Cell"], variants: Registry[VariantCard], context: ForkServerContext
) -> dict[tuple[str, Pattern], str]:
    """Check the variants of some cells against the laws; return the findings on refused ones."""
    from cab.commands.cells.run_gate import check_aloud
    from cab.records.sources import source_hash
    from cab.running.environment import usable_cores
    from cab.running.gate import LawCheck

    asked = {
        (name.label, cell.point.pattern): (name, cell.point.device.split(":")[0])
        for cell in cells
        for name in cell.mechanisms
        if not name.operator
    }
    named = []
    for (label, pattern), (name, device) in asked.items():
        entry = variants.entry(name.name)
        options, source = dict(name.options), source_hash(entry.path)
        law_check = LawCheck(
            name.name, pattern, options, source, repr(entry.card), device, name.include
        )
        named.append((label, law_check))
    workers = usable_cores() if all(law_check.device == "cpu" for _, law_check in named) else 1
    return check_aloud(named, context, workers, "timed")
