"""`cab probe --state-dtype`: what a trained cell loses when its decode state is rounded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.commands import output
from cab.commands.training import say_where
from cab.errors import CabError, UnknownName, Unsupported
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.analysis.state_precision import StatePrecision
    from cab.running.trained import TrainedCell

StateTypes = Annotated[
    str | None,
    typer.Option(
        "--state-dtype",
        help="Decode the test examples with the state rounded after every step, to bfloat16, "
        "float16, float32, int8, int4, int2 or int2-rotated; several as bfloat16,int8.",
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


def probe_state(
    trained: "TrainedCell",
    dtypes: tuple[str, ...],
    reference: str,
    examples: int | None,
    plots: Path | None,
    store: Path,
    json: bool,
) -> None:
    """Measure, store, draw and print; reference is the name of the variant of the task's scale."""
    from cab.analysis.state_precision import evaluations, measure, plot
    from cab.records.store import RecordStore
    from cab.scores.normalise import Scale, scale_of

    cell = trained.cell
    refuse_without_state(cell.variant, cell.task)
    scale = scale_of(cell.task, cell.profile.name, reference)
    own = isinstance(scale, Scale) and not cell.changed
    found = measure(trained, dtypes, scale if own else None, examples)  # type: ignore[arg-type]
    record = RecordStore(store).add_evaluations(cell.key, evaluations(trained, found))
    drawn = plot(found, plots) if plots is not None else []
    if json:
        return output.print_json(
            {"key": cell.key, "cell": cell.title, "metric": cell.task.metric}
            | _document(found)
            | {"plots": drawn}
        )
    _print(found, cell.title, cell.task.metric)
    for path in drawn:
        output.say(f"Wrote {path}.")
    say_where(record, store, cell.title)


def _document(found: "StatePrecision") -> dict[str, Any]:
    def values(one: Any) -> Any:
        return None if one is None else one.model_dump(mode="json")

    return {
        "before": values(found.before),
        "parallel_error": found.parallel_error,
        "places": found.places,
        "rounded": {
            dtype: {
                "error": one.error,
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
        ("state", *places, metric, "lost", "score lost"),
        [
            ("not rounded", *("-" for _ in places), said(before), "-", "-"),
            *(
                (
                    dtype,
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
        f"by {found.parallel_error:.1e}.",
        markup=False,
        soft_wrap=True,
    )
    for sentence in found.left_out:
        output.warn(sentence)
