"""`cab probe --state-dtype`: what a trained cell loses when its decode state is rounded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.commands.cells.training import say_where
from cab.commands.common import output
from cab.errors import CabError, UnknownName, Unsupported
from cab.profiles import get_profile
from cab.settings import split_assignments
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.analysis.state_precision import StatePrecision
    from cab.records.precision import Precision
    from cab.running.cells import Cell
    from cab.running.trained import TrainedCell

RATE = "train.learning_rate"
"""The one setting that may be changed in a result that is kept."""

StateTypes = Annotated[
    str | None,
    typer.Option(
        "--state-dtype",
        help="Decode the test examples with the state rounded after every step, to bfloat16, "
        "float16, float32, int8, int4, int2 or int2-rotated; several as bfloat16,int8.",
    ),
]

WriteState = Annotated[
    bool,
    typer.Option(
        "--write",
        help="Keep the results of --state-dtype in results/precision.json, for the site.",
    ),
]


def read_types(given: str | None) -> tuple[str, ...]:
    """Parse the value of --state-dtype; none without the option.

    Raises:
        UnknownName: a word is not a type of `STATE_DTYPES`.
        CabError: the value is empty.
    """
    if given is None:
        return ()
    from cab.analysis.rounding import STATE_DTYPES

    words = tuple(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))
    if not words:
        raise CabError(f"--state-dtype is empty. Choose from {', '.join(STATE_DTYPES)}.")
    for word in words:
        if word not in STATE_DTYPES:
            raise UnknownName("state dtype", word, STATE_DTYPES)
    return words


def refuse_without_state(variant: VariantCard, task: TaskCard) -> None:
    """Refuse what does not decode before anything is trained.

    Raises:
        Unsupported: the variant has no decode state, or the task's network no steps.
    """
    if not variant.state:
        raise Unsupported(
            f"{variant.name} does not decode token by token, so it has no state to round. Choose "
            f"a variant whose card gives the size of its decode state (`cab info NAME`)."
        )
    if task.backbone != "decoder":
        raise Unsupported(
            f"The network of {task.name} ({task.backbone}) does not decode token by token, so "
            f"there is no state to round. Choose a task with the backbone `decoder`, such as mqar."
        )


def refuse_to_keep(
    task: TaskCard, profile: str, reference: str, settings: Sequence[str], unchecked: bool
) -> None:
    """Refuse what is not kept with --write, before anything is trained.

    Raises:
        CabError: the result would not be that of a scored entry; the message says why.
    """
    from cab.scores.normalise import scale_of

    said = scale_of(task, get_profile(profile).name, reference)
    others = [key for key in split_assignments(list(settings)) if key != RATE]
    if isinstance(said, str):
        raise CabError(
            f"--write keeps results of scored tasks only, but {task.name} has no score in "
            f"{profile} ({said}). Choose another task, or omit --write."
        )
    if others:
        raise CabError(
            f"--write keeps results of a variant and task as they are, but --set changes "
            f"{', '.join(others)}. Omit --write, or change {RATE} alone."
        )
    if unchecked:
        raise CabError("--write keeps no results of unchecked variants. Omit --unchecked.")


def probe_state(
    trained: "TrainedCell",
    dtypes: tuple[str, ...],
    reference: str,
    examples: int | None,
    plots: Path | None,
    store: Path,
    json: bool,
    write: bool = False,
) -> None:
    """Measure, store, draw and print; reference is the name of the variant of the task's scale.

    Args:
        write: also keep what was found in results/precision.json.

    Raises:
        CabError: the cell of a checkpoint, or its learning rate, is not one that is kept; or no
            type gave a result to keep.
    """
    from cab.analysis.state_precision import evaluations, measure, plot
    from cab.records.store import RecordStore
    from cab.scores.normalise import Scale, scale_of

    cell = trained.cell
    refuse_without_state(cell.variant, cell.task)
    scale = scale_of(cell.task, cell.profile.name, reference)
    own = scale if isinstance(scale, Scale) and _is_of_the_task(cell) else None
    if write and (own is None or cell.unchecked):
        raise CabError(
            f"--write keeps results of scored tasks with their own settings, at one of their "
            f"learning rates, and of checked variants. {cell.title}, profile {cell.profile.name}, "
            f"is none. Omit --write."
        )
    found = measure(trained, dtypes, own, examples)
    record = RecordStore(store).add_evaluations(cell.key, evaluations(trained, found))
    drawn = plot(found, plots) if plots is not None else []
    if json:
        output.print_json(
            {"key": cell.key, "cell": cell.title, "metric": cell.task.metric}
            | _document(found)
            | {"plots": drawn}
        )
    else:
        _print(found, cell.title, cell.task.metric)
        for path in drawn:
            output.say(f"Wrote {path}.")
        say_where(record, store, cell.title)
    if write:
        _keep(trained, found)


def _is_of_the_task(cell: "Cell") -> bool:
    """Whether a cell is of the task's own recipe, at a learning rate that may be chosen."""
    from cab.records.rates import with_further

    rates = with_further(cell.recipe.rates) or (cell.recipe.train.learning_rate,)
    return set(cell.changed) <= {RATE} and cell.recipe.train.learning_rate in rates


def _keep(trained: "TrainedCell", found: "StatePrecision") -> None:
    from cab.records.by_variant import write_by_variant
    from cab.records.files import try_writing
    from cab.records.folders import refuse_package, results_folders
    from cab.records.precision import FILE, MeasuredPrecision, read_precision, with_precision
    from cab.running.environment import describe

    cell = trained.cell
    if not found.rounded:
        raise CabError(f"Nothing is kept of {cell.title}: {' '.join(found.left_out)}")
    path = results_folders(None).own / FILE
    refuse_package([path])
    try_writing(path, "What was measured", parents=True)
    machine = describe("cpu", 1)
    new = MeasuredPrecision(
        source=cell.source_hash,
        torch=machine.torch,
        processor=machine.cpu,
        tasks={cell.task.name: _precision(cell, found)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = with_precision(read_precision(path), cell.variant.name, new)
    write_by_variant(path, stored)
    output.say(f"{path} holds {len(stored)} variants.")


def _precision(cell: "Cell", found: "StatePrecision") -> "Precision":
    from cab.records.precision import Precision, RoundedState

    return Precision(
        version=cell.task.version,
        profile=cell.profile.name,
        seed=cell.seed,
        learning_rate=cell.recipe.train.learning_rate,
        metric=cell.task.metric,
        before=found.before,
        size=found.size,
        rounded={
            dtype: RoundedState(
                lost=one.lost, score_lost=one.score_lost, error=one.error[-1], size=one.size
            )
            for dtype, one in found.rounded.items()
            if one.score_lost is not None
        },
    )


def _document(found: "StatePrecision") -> dict[str, Any]:
    def values(one: Any) -> Any:
        return None if one is None else one.model_dump(mode="json")

    return {
        "before": values(found.before),
        "parallel_error": found.parallel_error,
        "places": found.places,
        "bytes": found.size,
        "rounded": {
            dtype: {
                "error": one.error,
                "bytes": one.size,
                "after": values(one.after),
                "lost": values(one.lost),
                "score_lost": values(one.score_lost),
            }
            for dtype, one in found.rounded.items()
        },
        "left_out": found.left_out,
    }


def _print(found: "StatePrecision", title: str, metric: str) -> None:
    places = [f"error at {first}-{last}" for first, last in found.places]
    before = found.before

    def said(one: Any) -> str:
        return "-" if one is None else f"{one.value:z.4f} ± {one.standard_error:.4f}"

    output.print_table(
        f"{title}, with a rounded decode state",
        ("state", "bytes", *places, metric, "lost", "score lost"),
        [
            ("not rounded", f"{found.size:,.0f}", *("-" for _ in places), said(before), "-", "-"),
            *(
                (
                    dtype,
                    f"{one.size:,.0f}",
                    *(f"{error:.1e}" for error in one.error),
                    said(one.after),
                    said(one.lost),
                    said(one.score_lost),
                )
                for dtype, one in found.rounded.items()
            ),
        ],
    )
    output.out.print(
        f"Errors are those of the logits, relative, by position; ± is one standard error over "
        f"{before.n} test examples. Steps with the state as it is differ from the parallel form "
        f"by {found.parallel_error:.1e}. Bytes are those of one sequence's state after its last "
        f"token.",
        markup=False,
        soft_wrap=True,
    )
    for sentence in found.left_out:
        output.warn(sentence)
