"""`cab lm-eval`: evaluate a trained decoder on tasks of lm-evaluation-harness."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cab.commands.cells.training import DEFAULT_TASK, Checkpoint, Wanted, say_where, trained_cells
from cab.commands.common import output
from cab.commands.common.options import (
    DEFAULT_STORE,
    DataDir,
    Device,
    Include,
    Json,
    Settings,
    Store,
    TrainingSeed,
    Unchecked,
    choose_device,
)
from cab.data import data_directory
from cab.errors import CabError
from cab.profiles import DEFAULT_PROFILE
from cab.registry import discover_tasks, discover_variants


def lm_eval(
    variant: Annotated[str, typer.Option(help="The variant of the decoder.")],
    tasks: Annotated[
        list[str], typer.Option(help="Tasks of lm-eval; several as a,b. Repeatable.")
    ],
    checkpoint: Checkpoint = None,
    task: Annotated[
        str | None, typer.Option(help=f"CAB task to train on. Default: {DEFAULT_TASK}.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help=f"Profile of the CAB task. Default: {DEFAULT_PROFILE}.")
    ] = None,
    seed: TrainingSeed = None,
    set_: Settings = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Hugging Face tokenizer: a tokenizer.json or a name. Default: bytes."),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Context length in tokens. Default: the training length."),
    ] = None,
    few_shot: Annotated[
        int | None,
        typer.Option(min=0, help="Number of few-shot examples; overrides the task's default."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of documents per task.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences per batch.")] = 16,
    task_files: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of further lm-eval task files, which may run code. Repeatable."),
    ] = None,
    include: Include = None,
    unchecked: Unchecked = False,
    device: Device = "auto",
    store: Store = DEFAULT_STORE,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Evaluate a decoder trained with a variant on tasks of lm-evaluation-harness.

    CAB's own tasks cab_wikitext2, cab_recall and cab_recall_written need no network. Scores are
    stored in the record of the decoder's cell.
    """
    names = [name for text in tasks for name in text.split(",") if name]
    files = tuple(include or ())
    variants, known = discover_variants(files), discover_tasks(files)
    directory = data_directory(data_dir)
    for folder in task_files or ():
        if not folder.is_dir():
            raise CabError(f"--task-files {folder} is not a folder.")
    # Reading training data would set this to 1 for good, and hub tasks need the hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "0")

    from cab.language_models.lm_evaluation import evaluate_tasks
    from cab.language_models.lm_harness import ByteTokenizer, DecoderLM, HubTokenizer
    from cab.records.store import RecordStore

    wanted = Wanted(
        task,
        profile,
        seed,
        set_ or (),
        checkpoint,
        files,
        unchecked,
        store,
        directory,
        choose_device(device),
    )
    (trained,) = trained_cells(wanted, [variant], variants, known)
    model = DecoderLM(
        trained,
        ByteTokenizer() if tokenizer is None else HubTokenizer(tokenizer),
        max_length=max_length,
        batch_size=batch_size,
        device=wanted.device,
    )
    found = evaluate_tasks(
        model, names, directory, include=task_files or (), few_shot=few_shot, limit=limit
    )
    record = RecordStore(store).add_evaluations(trained.cell.key, found)
    if json:
        output.print_json(
            {
                "key": trained.cell.key,
                "cell": trained.cell.title,
                "stored": record is not None,
                "evaluations": [one.model_dump(mode="json") for one in found],
            }
        )
        return
    output.print_table(
        f"{trained.cell.title}, by lm-eval",
        ("task", "metric", "value ± standard error", "documents"),
        [
            (
                one.task,
                f"{one.metric} {one.arrow}".strip(),
                f"{one.value:.4f}"
                + ("" if one.standard_error is None else f" ± {one.standard_error:.4f}"),
                str(one.n),
            )
            for one in found
        ],
    )
    say_where(record, store, trained.cell.title)
