"""Running tasks of lm-evaluation-harness on a trained decoder."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from cab.errors import CabError
from cab.language_models.lm_harness import DecoderLM
from cab.records.store import Evaluation

OWN = Path(importlib.import_module("cab.tasks").__path__[0], "lm_eval")
"""CAB's own task files, which need no network."""


RESAMPLES = 1000
"""For standard errors of what has no formula for its own."""

ALONE = "DISABLE_MULTIPROC"


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
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=metadata)
    if set(tasks) - set(manager.all_tasks):  # reading lm-eval's own thousands takes a while
        manager = TaskManager(include_path=folders, metadata=metadata)
    if unknown := [name for name in tasks if name not in manager.all_tasks]:
        raise CabError(
            f"lm-eval has no task {', '.join(unknown)}. CAB adds {', '.join(own_tasks())}; "
            f"`lm_eval ls tasks` lists the others."
        )
    try:
        with _quietly():
            found = simple_evaluate(
                model,
                tasks=list(tasks),
                num_fewshot=few_shot,
                limit=limit,
                task_manager=manager,
                bootstrap_iters=RESAMPLES,
                log_samples=False,
                # Of the seeds only that of the examples before a question has a use here; the
                # others would set the state of this whole process.
                random_seed=None,
                numpy_random_seed=None,
                torch_random_seed=None,
            )
    except CabError:
        raise
    except (OSError, ImportError, ValueError, KeyError, RuntimeError) as error:
        raise CabError(
            f"lm-eval failed on {', '.join(tasks)}: {type(error).__name__}: {error} Tasks from "
            f"the Hugging Face hub need a network; CAB's {', '.join(own_tasks())} do not."
        ) from error
    settings = {
        "max_length": model.max_length,
        "tokenizer": model.tokenizer_name,
        "by_step": model.by_step,
        "limit": limit,
    }
    return tuple(_evaluations(found, settings))


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
            error = results.get(f"{metric}_stderr,{chain}")
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
