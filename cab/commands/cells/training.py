"""Get trained cells for the commands that analyse them: from checkpoints, or by training."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cab.commands.common import output
from cab.errors import CabError, Interrupted
from cab.profiles import DEFAULT_PROFILE, get_profile
from cab.registry import Registry
from cab.settings import parse_settings, split_assignments
from cab.taxonomy import TaskCard, VariantCard

if TYPE_CHECKING:
    from cab.records.store import Record
    from cab.running.cells import Cell
    from cab.running.trained import TrainedCell

FOLDER = "checkpoints"
"""Where weights are kept below a store, for the commands that train them themselves."""

Checkpoint = Annotated[
    Path | None,
    typer.Option(
        help="Folder of `cab run --checkpoints`, or one of its files. Default: train first."
    ),
]
DEFAULT_TASK = "byte-lm"
"""What is trained where a task may be left out."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which cells a command is about, and where their records and weights are.

    task, profile, seed: None for the checkpoint's, or the default; checkpoint: None to train.
    """

    task: str | None
    profile: str | None
    seed: int | None
    settings: Sequence[str]
    checkpoint: Path | None
    include: tuple[Path, ...]
    unchecked: bool
    store: Path
    data_dir: Path
    device: str


def trained_cells(
    wanted: Wanted,
    names: Sequence[str],
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
) -> "list[TrainedCell]":
    """Return trained cells of some variants: the checkpoint's, or trained here.

    Weights of cells trained here are kept and used the next time. The variant's settings in
    `wanted` apply to the first variant only; settings of the recipe apply to all.

    Raises:
        CabError: a cell did not end well, or its variant breaks a law; or there is no checkpoint
            of it, more than one, or it does not fit.
    """
    from cab.commands.cells.work import check_writable
    from cab.running.checkpoints import find
    from cab.running.trained import restore

    if wanted.store.exists():  # what is found joins the record that may be there
        check_writable(wanted.store)
    if wanted.checkpoint is None:
        manifests = _train(wanted, names, variants, tasks)
    else:
        for name in names:
            variants.entry(name)
        # Beside a file of the first variant's stand the weights of the others.
        place = wanted.checkpoint
        folder = place if place.is_dir() else place.parent
        manifests = [
            find(place if name == names[0] else folder, name, wanted.task) for name in names
        ]
    cells = []
    for manifest in manifests:
        trained = restore(manifest, variants, tasks, wanted.data_dir, wanted.include)
        own = trained.cell.variant.name == names[0]
        if other := _contradictions(wanted, trained.cell, own, variants):
            raise CabError(
                f"{manifest} holds the weights of {trained.cell.title}, which contradict "
                f"{', '.join(other)}. Omit these options, or name another checkpoint."
            )
        cells.append(trained)
    return cells


def _contradictions(
    wanted: Wanted, cell: "Cell", own: bool, variants: Registry[VariantCard]
) -> list[str]:
    """The options that ask for something else than a cell is, as the user gave them.

    Args:
        own: whether the settings of a variant are meant for this one.
    """
    from cab.attention import Attention

    other = []
    if wanted.profile not in (None, cell.profile.name):
        other.append(f"--profile {wanted.profile}")
    if wanted.seed not in (None, cell.seed):
        other.append(f"--seed {wanted.seed}")
    attention = variants.load(cell.variant.name)
    assert issubclass(attention, Attention)
    parts: dict[str, tuple[type[Any], dict[str, Any]]] = {
        "train": (type(cell.recipe.train), dataclasses.asdict(cell.recipe.train)),
        "model": (type(cell.recipe.model.width), dataclasses.asdict(cell.recipe.model.width)),
        "": (attention.Config, dict(cell.config)),
    }
    for key, value in split_assignments(list(wanted.settings)).items():
        part, dot, name = key.rpartition(".")
        if part not in parts or not (dot or own):
            continue
        kind, known = parts[part]
        asked = parse_settings(kind, {**known, name: value}, f"{cell.title} (--set)")
        if dataclasses.asdict(asked) != known:
            other.append(f"--set {key}={value}")
    return other


def _train(
    wanted: Wanted,
    names: Sequence[str],
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
) -> list[Path]:
    """Train the cells that have no weights yet; return their manifests."""
    from cab.data import require
    from cab.running.cells import Request, plan

    folder = (wanted.store / FOLDER).resolve()
    options = split_assignments(list(wanted.settings))
    cells: list[Cell] = []
    for place, name in enumerate(names):
        own = {k: v for k, v in options.items() if place == 0 or "." in k}
        request = Request(
            [name],
            get_profile(wanted.profile or DEFAULT_PROFILE),
            tasks=[wanted.task or DEFAULT_TASK],
            options=own,
            include=wanted.include,
            unchecked=wanted.unchecked and place == 0,
            checkpoints=folder,
        )
        cells.extend(
            dataclasses.replace(cell, seed=wanted.seed or 0)
            for cell in plan(request, variants, tasks).cells
        )
    require({name for cell in cells for name in cell.task.data}, wanted.data_dir)
    manifests = {folder / f"{cell.key}.json": cell for cell in cells}
    _run(wanted, [cell for path, cell in manifests.items() if not path.exists()], tasks)
    return list(manifests)


def _run(wanted: Wanted, cells: "list[Cell]", tasks: Registry[TaskCard]) -> None:
    if not cells:
        return
    from cab.commands.cells.progress import RunProgress
    from cab.commands.cells.run_gate import pass_gate
    from cab.commands.cells.work import check_writable
    from cab.records.store import RecordStore
    from cab.running.execution import Runner
    from cab.running.fork_server import start_fork_server

    check_writable(wanted.store, wanted.store / FOLDER)
    context = start_fork_server(tasks.only(*{cell.task.name for cell in cells}))
    keys = {cell.key for cell in cells}
    kept, refused = pass_gate(cells, keys, wanted.device, context)
    if refused:
        raise CabError(" ".join(refused))
    try:
        with RunProgress(kept) as progress:
            runner = Runner(
                RecordStore(wanted.store),
                wanted.data_dir,
                wanted.device,  # type: ignore[arg-type]
                progress,
                force=True,  # a record without weights is of no use here
                context=context,
            )
            finished = runner.run(kept)
    except Interrupted:
        raise Interrupted("Finished cells are kept. Rerun the same command to resume.") from None
    for one in finished:
        if one.record is None or one.record.status != "ok":
            said = one.problem if one.record is None else one.record.message
            raise CabError(f"Training of {one.cell.title} failed: {said}")


def say_where(record: "Record | None", store: Path, title: str) -> None:
    """Say whether the results were stored in the record of their cell."""
    if record is None:
        output.warn(f"{store} has no record of {title}, so these results are not stored.")
    else:
        output.say(f"Added to {store / 'records' / record.key}.json")
