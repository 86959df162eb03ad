"""Running tasks of lm-evaluation-harness on a trained decoder."""

import contextlib
import importlib
import logging
import math
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from cab.errors import CabError
from cab.language_models.lm_harness import DecoderLM
from cab.records.fields import LARGEST
from cab.records.store import Evaluation
from cab.records.text import one_line, text_of

OWN = Path(importlib.import_module("cab.tasks").__path__[0], "lm_eval")
"""CAB's own task files, which need no network."""


RESAMPLES = 1000
"""For standard errors of what has no formula for its own."""

ALONE = "DISABLE_MULTIPROC"

FETCHERS = frozenset({"datasets", "huggingface_hub", "httpx", "requests", "urllib3"})
"""Packages whose errors may come from a lack of network."""

LONGEST = 500
"""Characters of an error of a task's own that are told."""


def own_tasks() -> list[str]:
    """The names of CAB's own tasks for lm-eval."""
    return sorted(path.stem for path in OWN.glob("[!_]*.yaml"))


def evaluate_tasks(
    model: DecoderLM,
    tasks: Sequence[str],
    data_dir: Path,
    *,
    include: Sequence[Path] = (),
    few_shot: int | None = None,
    limit: int | None = None,
) -> tuple[Evaluation, ...]:
    """Return every metric that lm-eval computes of some tasks, in their order.

    Args:
        model: the language model.
        tasks: names of lm-eval's, of CAB's own or of those in `include`.
        data_dir: where CAB's own tasks find their data.
        include: folders of further task files.
        few_shot: examples before each question; as the task says if None.
        limit: documents of each task at most.

    Raises:
        CabError: an unknown task, or one whose data cannot be had.
    """
    folders = [str(folder) for folder in (OWN, *include)]
    metadata: dict[str, Any] = {"data_dir": str(data_dir)}
    try:
        with _quietly():
            found = _found(model, tasks, folders, metadata, few_shot, limit)
    except CabError:
        raise
    except Exception as error:  # a task's files may hold code, which may raise anything
        said = f"{type(error).__name__}: {one_line(text_of(error, LONGEST))}"
        said = f"lm-eval failed on {', '.join(tasks)}: {said}{_where(error, include)}."
        if any(_of_network(one) for one in _chain(error)):
            said += " Tasks from the Hugging Face hub need a network; CAB's "
            said += f"{', '.join(own_tasks())} do not."
        raise CabError(said) from error
    settings = {
        "max_length": model.max_length,
        "tokenizer": model.tokenizer_name,
        "by_step": model.by_step,
        "limit": limit,
    }
    return tuple(_evaluations(found, settings))


def _found(
    model: DecoderLM,
    tasks: Sequence[str],
    folders: list[str],
    metadata: dict[str, Any],
    few_shot: int | None,
    limit: int | None,
) -> Any:
    """What lm-eval itself returns."""
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
    if set(tasks) - set(manager.all_tasks):  # reading lm-eval's own thousands takes a while
        manager = TaskManager(include_path=folders, metadata=metadata)
    if unknown := [name for name in tasks if name not in manager.all_tasks]:
        raise CabError(
            f"lm-eval has no task {', '.join(unknown)}. CAB adds {', '.join(own_tasks())}; "
            f"`lm_eval ls tasks` lists the others."
        )
    return simple_evaluate(
        model,
        tasks=list(tasks),
        num_fewshot=few_shot,
        limit=limit,
        task_manager=manager,
        bootstrap_iters=RESAMPLES,
        log_samples=False,
        # Of the seeds only that of the examples before a question has a use here; the others
        # would set the state of this whole process.
        random_seed=None,
        numpy_random_seed=None,
        torch_random_seed=None,
    )


def _where(error: BaseException, include: Sequence[Path]) -> str:
    """The line of the user's own task files in which an error was raised, if it was there.

    The libraries wrap what their callers raise, so all errors behind it are searched.
    """
    folders = [folder.resolve() for folder in include]
    for seen in _chain(error):
        for frame in reversed(traceback.extract_tb(seen.__traceback__)):
            path = Path(frame.filename).resolve()
            if any(path.is_relative_to(folder) for folder in folders):
                return f" ({path}, line {frame.lineno}: {type(seen).__name__}: {seen})"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _of_network(error: BaseException) -> bool:
    """Whether a lack of network, or of data that is fetched, may have raised an error."""
    package = type(error).__module__.partition(".")[0]
    return isinstance(error, OSError) or package in FETCHERS


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Send what lm-eval prints to stderr, and let it start no processes for its resampling."""
    logger = logging.getLogger("lm_eval")
    level, before = logger.level, os.environ.get(ALONE)
    logger.setLevel(logging.ERROR)
    os.environ[ALONE] = "1"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
        del os.environ[ALONE]
        if before is not None:
            os.environ[ALONE] = before


def _count(found: Any, task: str) -> int:
    """How many examples a task has; a group has those of its members."""
    if task in found["n-samples"]:
        return int(found["n-samples"][task]["effective"])
    return sum(_count(found, one) for one in found.get("group_subtasks", {}).get(task, ()))


def _evaluations(found: Any, settings: dict[str, Any]) -> Iterator[Evaluation]:
    for task, results in found["results"].items():
        better = found["higher_is_better"].get(task, {})
        for name, value in results.items():
            metric, comma, chain = name.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            if not abs(value) <= LARGEST:
                raise CabError(
                    f"{task} gives {metric} = {value}, which no record holds. The decoder's "
                    f"predictions are not usable; train it again."
                )
            error = results.get(f"{metric}_stderr,{chain}")
            if isinstance(error, float) and not math.isfinite(error):
                error = None
            yield Evaluation.of(
                harness="lm-eval",
                harness_version=lm_eval.__version__,
                task=task,
                task_version=str(found["versions"].get(task, "")),
                metric=metric if chain == "none" else f"{metric} ({chain})",
                higher_is_better=better.get(metric),
                value=float(value),
                standard_error=float(error) if isinstance(error, int | float) else None,
                n=_count(found, task),
                settings={**settings, "few_shot": found["n-shot"].get(task)},
            )
