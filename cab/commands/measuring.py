"""What `cab bench` and `cab crossover` share: reading subjects, proving variants, sizes."""

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
    from cab.measure.points import Cell, SubjectName

Set = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the variants, as KEY=VALUE.")
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")]
Heads = Annotated[int, typer.Option(min=1, help="Query heads.")]
HeadDim = Annotated[int, typer.Option("--head-dim", min=1, help="Width of a head.")]
Batch = Annotated[int, typer.Option(min=1, help="Sequences in a batch.")]
Tokens = Annotated[
    int, typer.Option(min=0, help="Keep batch x length at this many tokens instead of --batch.")
]
Window = Annotated[int, typer.Option(min=0, help="Window of an operator, in tokens; 0 is none.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: OMP_NUM_THREADS, else cores.")]
Samples = Annotated[int, typer.Option(min=20, help="Samples per subject and point, at least.")]
Seconds = Annotated[
    float, typer.Option(min=0.0, help="Sample on while it is noisy, to about so long each.")
]
TimeLimit = Annotated[float, typer.Option(min=1.0, help="Seconds per point of the grid.")]
MemoryLimit = Annotated[float, typer.Option(min=0.1, help="GiB per point of the grid.")]
Seed = Annotated[int, typer.Option(min=0, help="Of inputs and of the order.")]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="Time variants without the proof (see `cab check`).")
]


def read_list(text: str, option: str) -> list[str]:
    """Read `a,b,c`.

    Raises:
        CabError: there is nothing in it.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise CabError(f"{option} names nothing.")
    return words


def read_lengths(text: str) -> list[int]:
    """Read `256,512` as positive numbers, sorted.

    Raises:
        CabError: a word that is no positive whole number.
    """
    words = read_list(text, "--lengths")
    for word in words:
        if not word.isdecimal() or int(word) < 1:
            raise CabError(f"--lengths takes positive whole numbers, not {word!r}.")
    return sorted({int(word) for word in words})


def read_choice(text: str, known: Iterable[str], kind: str) -> str:
    """Return a word that must be one of some; another raises with the nearest ones."""
    known = list(known)
    if text not in known:
        raise UnknownName(kind, text, known)
    return text


def read_subject(
    text: str,
    variants: Registry[VariantCard],
    options: Mapping[str, str],
    include: tuple[Path, ...],
) -> "SubjectName":
    """Read a variant's name, or OPERATOR:PROVIDER.

    Raises:
        UnknownName: there is none of that name, or a setting that the variant does not have.
    """
    from cab.measure.operators import get_operator
    from cab.measure.points import SubjectName
    from cab.settings import parse_settings

    operator, colon, provider = text.partition(":")
    if colon:
        known = get_operator(operator).providers
        if provider not in known:
            raise UnknownName(f"provider of {operator}", provider, known)
        return SubjectName(provider, operator)
    attention: Any = variants.load(text)
    if options:
        parse_settings(attention.Config, options, f"variant {text}")
    return SubjectName(text, options=dict(options), include=include)


def standard_baselines(variants: Registry[VariantCard]) -> list[str]:
    """The reference, and every other implementation of its function."""
    identical = [card.name for card in variants.cards() if card.role == "identity"]
    return [name_of_role(variants, "reference"), *identical]


def thread_count(given: int) -> int:
    """How many threads a CPU's cells are pinned to."""
    from cab.running.environment import usable_cores

    return given or int(os.environ.get("OMP_NUM_THREADS") or 0) or usable_cores()


def refused_variants(
    cells: Sequence["Cell"], variants: Registry[VariantCard], context: ForkServerContext
) -> dict[tuple[str, Pattern], str]:
    """Prove every variant of some cells in its pattern; return what the laws say of the others."""
    from cab.commands.run_gate import prove_aloud
    from cab.records.sources import source_hash
    from cab.running.environment import usable_cores
    from cab.running.gate import Claim

    asked = {
        (name.label, cell.point.pattern): (name, cell.point.device.split(":")[0])
        for cell in cells
        for name in cell.subjects
        if not name.operator
    }
    named = []
    for (label, pattern), (name, device) in asked.items():
        entry = variants.entry(name.name)
        options, source = dict(name.options), source_hash(entry.path)
        claim = Claim(name.name, pattern, options, source, repr(entry.card), device, name.include)
        named.append((label, claim))
    workers = usable_cores() if all(claim.device == "cpu" for _, claim in named) else 1
    return prove_aloud(named, context, workers, "timed")
