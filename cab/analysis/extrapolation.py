"""How a trained cell does on sequences shorter and longer than those it was trained on."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from cab.analysis.figures import figure
from cab.errors import CabError
from cab.records.fields import LARGEST
from cab.records.store import AtLength, Positions, Record, RecordStore
from cab.running.awake import awake
from cab.running.trained import TrainedCell
from cab.running.training import DivergedError, evaluate
from cab.running.worker import length_curve
from cab.task import IGNORED, LENGTH_FACTORS, Batch, Task, slice_batch

FACTORS = (*LENGTH_FACTORS, 8.0)
"""Multiples of the training length. Slots are told of 4 times it at most; what was made for a
fixed length may end there, and is said to."""

PARTS = 16
"""Into how many equal parts the positions of a sequence are divided."""


def extrapolate(
    trained: TrainedCell, device: str, factors: Sequence[float] = FACTORS
) -> tuple[AtLength, ...]:
    """Test a trained cell at other lengths, shortest first, with the loss along the sequence.

    Raises:
        CabError: the task has only one length, or a metric of the cell is not finite.
    """
    task, model, profile = trained.task, trained.model, trained.cell.profile
    others = {**task.at_lengths(factors), 1.0: task}
    if len(others) == 1:
        raise CabError(
            f"{trained.cell.task.name} has only one length. Choose a task with several lengths."
        )
    accelerator = Accelerator(cpu=device == "cpu")
    model.to(accelerator.device)
    test, began = task.examples("test"), awake()
    try:
        measured = evaluate(task, model, test, accelerator)
    except DivergedError as error:
        raise CabError(f"{trained.cell.title} cannot be measured: {error}.") from None
    curve = length_curve(task, model, accelerator, test, measured, profile, began, factors)
    return tuple(
        point
        if point.status != "ok"
        else point.model_copy(update={"positions": loss_along(others[point.factor], model)})
        for point in curve
    )


@torch.no_grad()
def loss_along(task: Task, model: nn.Module, parts: int = PARTS) -> tuple[Positions, ...]:
    r"""Return the mean loss of the test examples in equal parts of the sequence.

    .. math:: \ell_t = -\log p(y_t \mid x_{\le t}), \quad \mathrm{perplexity}_t = e^{\ell_t}

    in nats, over the labels that are asked; nothing for a task that does not ask token by token.
    Perplexity by position shows where beyond the training length a model loses the thread (Press
    et al., 2022, "Train Short, Test Long", arXiv 2108.12409).
    """
    examples, size = task.examples("test"), task.recipe.evaluation_batch
    count = len(next(iter(examples.values())))
    device = next(model.parameters()).device
    total: Tensor | None = None
    for start in range(0, count, size):
        batch = slice_batch(examples, start, start + size)
        if not _asks_token_by_token(batch):
            return ()
        logits = model(batch["inputs"].to(device))
        if logits.shape[:2] != batch["targets"].shape:
            return ()
        targets = batch["targets"].to(device)
        nats = F.cross_entropy(logits.mT, targets, ignore_index=IGNORED, reduction="none")
        sums = torch.stack((nats.double().sum(dim=0), (targets != IGNORED).double().sum(dim=0)))
        total = sums.cpu() if total is None else total + sums.cpu()
    assert total is not None
    length = total.shape[1]
    found = []
    for part in range(min(parts, length)):
        first, stop = (length * (part + more) // min(parts, length) for more in (0, 1))
        nats_here, asked = total[:, first:stop].sum(dim=1).tolist()
        if asked and abs(nats_here) <= LARGEST * asked:
            found.append(
                Positions(first=first, last=stop - 1, nats=nats_here / asked, n=int(asked))
            )
    return tuple(found)


def _asks_token_by_token(batch: Batch) -> bool:
    inputs, targets = batch.get("inputs"), batch.get("targets")
    return (
        inputs is not None
        and targets is not None
        and not targets.is_floating_point()
        and inputs.dim() == 2
        and inputs.shape == targets.shape
    )


def join(store: RecordStore, key: str, curve: Sequence[AtLength]) -> Record | None:
    """Put a curve in place of the one in a cell's record; None where the store has no record."""

    def put(record: Record) -> Record:
        metrics = record.metrics.model_copy(update={"lengths": tuple(curve)})
        return record.model_copy(update={"metrics": metrics})

    return store.change(key, put)


def plot(curves: Mapping[str, Sequence[AtLength]], metric: str, path: Path) -> None:
    """Draw the metric against the length, and perplexity by position at the longest length.

    Raises:
        CabError: the file cannot be written.
    """
    with figure(path, columns=2) as ((over_lengths, along),):
        longest = 0.0
        for name, curve in curves.items():
            there = [point for point in curve if point.estimate is not None]
            over_lengths.plot(
                [point.length for point in there],
                [point.estimate.value for point in there if point.estimate],
                marker="o",
                label=name,
            )
            with_positions = [point for point in there if point.positions]
            if with_positions:
                last = with_positions[-1]
                longest = max(longest, last.factor)
                along.plot(
                    [part.last for part in last.positions],
                    [math.exp(min(part.nats, 700.0)) for part in last.positions],
                    marker=".",
                    label=f"{name}, {last.factor:g}x",
                )
        trained = next(p.length for curve in curves.values() for p in curve if p.factor == 1)
        for axes in (over_lengths, along):
            axes.axvline(trained, linestyle="--", linewidth=0.8, color="0.4")
            axes.grid(visible=True, alpha=0.3)
            axes.set_xscale("log", base=2)
        over_lengths.set_xlabel("length, tokens (dashed: of training)")
        over_lengths.set_ylabel(metric)
        over_lengths.legend(fontsize="small")
        along.set_xlabel("position")
        along.set_ylabel("perplexity")
        if longest:
            along.set_yscale("log")
            along.legend(fontsize="small")
