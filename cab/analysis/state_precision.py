"""The precision of the decode state: decoding with a state that is rounded after every step.

Dimensions: B examples, N positions, V vocabulary.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import cab
from cab.analysis.figures import figure
from cab.analysis.rounding import round_state, stored_bytes
from cab.backbones.decoder import Decoder
from cab.backbones.stepping import can_step, start, step
from cab.errors import Unsupported
from cab.records.fields import LARGEST
from cab.records.store import Estimate, Evaluation
from cab.running.trained import TrainedCell
from cab.scores.normalise import Scale
from cab.task import slice_batch

PARTS = 4
"""Into how many equal parts of the sequence the error is divided."""


@dataclass(frozen=True)
class Rounded:
    """What a state in one type gives.

    error holds the relative error of the logits in each part of the longest sequences; after is
    the task's metric, lost by how much it is worse, score_lost the same on the task's scale (None
    of a task without one). by_position is the relative error at every position. size is the number
    of bytes of one sequence's state after the last token of the longest sequences.
    """

    error: tuple[float, ...]
    after: Estimate
    lost: Estimate
    score_lost: Estimate | None
    by_position: tuple[float, ...]
    size: float


@dataclass(frozen=True)
class StatePrecision:
    """A cell whose state was rounded to several types, by name.

    before is the metric with the state as it is; parallel_error is the relative difference of
    these steps from the parallel form, over all positions. places holds the first and last
    position of each part, size the bytes of the state as it is. left_out says which types gave no
    result, and why.
    """

    before: Estimate
    parallel_error: float
    places: tuple[tuple[int, int], ...]
    size: float
    rounded: Mapping[str, Rounded]
    left_out: tuple[str, ...]
    examples: int | None


class Stepped(nn.Module):
    """A decoder that reads token by token, in place of its parallel form.

    dtype: to what the state is rounded after every step; None leaves it as it is. `logits` holds
    the output of the last call, `size` the bytes of a sequence's state after it.

    Raises:
        Unsupported: the model does not decode token by token.
    """

    def __init__(self, model: nn.Module, dtype: str | None = None) -> None:
        super().__init__()
        if not isinstance(model, Decoder) or not can_step(model):
            raise Unsupported(
                "This network does not decode token by token, so its decode state cannot be "
                "rounded. Choose a task whose backbone is a decoder, and a variant with a state."
            )
        self.model, self.dtype = model, dtype
        self.logits, self.size = torch.empty(0), 0.0

    def forward(self, tokens: Int[Tensor, "B N"]) -> Float[Tensor, "B N V"]:
        """Return the logits of the next token at every position."""
        state, outputs = start(self.model, len(tokens)), []
        for column in tokens.unbind(dim=1):
            logits, state = step(self.model, column, state)
            outputs.append(logits)
            if self.dtype is not None:
                state = round_state(state, self.dtype)
        self.logits = torch.stack(outputs, dim=1)
        self.size = stored_bytes(state, self.dtype or "float32") / len(tokens)
        return self.logits


def squares(got: Float[Tensor, "B N V"], wanted: Float[Tensor, "B N V"]) -> Float[Tensor, "2 N"]:
    """Return, by position, the sums of squares of the difference and of what is wanted."""
    got, wanted = got.double(), wanted.double()
    return torch.stack([x.square().sum(dim=(0, 2)) for x in (got - wanted, wanted)])


def relative_errors(
    sums: Float[Tensor, "2 N"], parts: int
) -> tuple[tuple[tuple[int, int], ...], tuple[float, ...]]:
    r"""Return the parts of the sequence, each (first, last), and the relative error in each.

    .. math:: e_P = \sqrt{\sum_{t \in P} \|y_t' - y_t\|^2 / \sum_{t \in P} \|y_t\|^2}
    """
    length = sums.shape[1]
    parts = min(parts, length)
    ends = [length * part // parts for part in range(parts + 1)]
    places = tuple((first, stop - 1) for first, stop in itertools.pairwise(ends))
    totals = [sums[:, first : last + 1].sum(dim=1) for first, last in places]
    return places, tuple((off / max(of, 1e-300)) ** 0.5 for off, of in map(Tensor.tolist, totals))


@torch.no_grad()
def measure(
    trained: TrainedCell,
    dtypes: Sequence[str],
    scale: Scale | None = None,
    examples: int | None = None,
) -> StatePrecision:
    """Decode a cell's test examples with the state in several types, at each level of its task.

    Args:
        trained: the cell; its model is a decoder whose mixers decode.
        dtypes: names of `STATE_DTYPES`.
        scale: the task's, for the score lost.
        examples: the first so many test examples of each level; None for all.

    Raises:
        Unsupported: the model does not decode token by token.
    """
    model, card = trained.model.eval().cpu(), trained.cell.task
    levels = trained.task.at_levels()
    runs: dict[str | None, Stepped] = {None: Stepped(model)}
    runs |= {dtype: Stepped(model, dtype) for dtype in dtypes}
    values: dict[str | None, list[list[float]]] = {run: [] for run in runs}
    sums: dict[str | None, Tensor] = {}
    broken: dict[str, str] = {}
    for level in levels:
        for run in runs:
            values[run].append([])
        sums.clear()  # those of the last level, whose sequences are the longest, are kept
        test = level.examples("test")
        count = min(examples or len(test["inputs"]), len(test["inputs"]))
        size = level.recipe.evaluation_batch
        for first in range(0, count, size):
            batch = slice_batch(test, first, min(first + size, count))
            for run, stepped in runs.items():
                found = level.evaluate(stepped, batch)[card.metric].double()
                values[run][-1].extend(found.tolist())
                exact = runs[None].logits
                wanted = model(batch["inputs"]) if run is None else exact
                sums[run] = sums.get(run, 0) + squares(stepped.logits, wanted)
                if run is not None and (said := _not_finite(stepped.logits, found)):
                    broken.setdefault(run, said)
    sizes = {run: stepped.size for run, stepped in runs.items()}
    return _summary(values, sums, sizes, broken, scale, card.higher_is_better, examples)


def _not_finite(logits: Float[Tensor, "B N V"], metric: Float[Tensor, " B"]) -> str:
    """Say what is not finite, or is too large for a record; nothing if all is well."""
    bad = ~logits.isfinite().all(dim=2).all(dim=0)
    if bad.any():
        return f"the outputs are not finite from position {int(bad.nonzero()[0])} on"
    return "" if bool((metric.abs() <= LARGEST).all()) else "the metric is too large for a record"


def _summary(
    values: Mapping[str | None, list[list[float]]],
    sums: Mapping[str | None, Tensor],
    sizes: Mapping[str | None, float],
    broken: Mapping[str, str],
    scale: Scale | None,
    higher_is_better: bool,
    examples: int | None,
) -> StatePrecision:
    before, sign = values[None], 1.0 if higher_is_better else -1.0
    places, _ = relative_errors(sums[None], PARTS)
    rounded = {}
    for dtype, after in values.items():
        if dtype is None or dtype in broken:
            continue
        lost = [
            [sign * (one - other) for one, other in zip(*both, strict=True)]
            for both in zip(before, after, strict=True)
        ]
        unit = None if scale is None else abs(scale.top - scale.floor)
        rounded[dtype] = Rounded(
            relative_errors(sums[dtype], PARTS)[1],
            _estimate(after),
            _estimate(lost),
            None if unit is None else _estimate([[x / unit for x in level] for level in lost]),
            relative_errors(sums[dtype], sums[dtype].shape[1])[1],
            sizes[dtype],
        )
    left_out = [
        f"{dtype} is left out: with a state in {dtype} {said}." for dtype, said in broken.items()
    ]
    (parallel,) = relative_errors(sums[None], 1)[1]
    return StatePrecision(
        _estimate(before), parallel, places, sizes[None], rounded, tuple(left_out), examples
    )


def _estimate(levels: Sequence[Sequence[float]]) -> Estimate:
    """The mean over the levels, which weigh the same, of the means over the examples."""
    found = [Estimate.of(values) for values in levels]
    return found[0] if len(found) == 1 else Estimate.mean(found)


def evaluations(trained: TrainedCell, found: StatePrecision) -> tuple[Evaluation, ...]:
    """Return the results as the record of the cell holds them."""
    card, made = trained.cell.task, []
    for dtype, one in found.rounded.items():
        numbers: dict[str, tuple[Estimate, bool]] = {
            f"{card.metric} before rounding": (found.before, card.higher_is_better),
            f"{card.metric} after rounding": (one.after, card.higher_is_better),
            f"{card.metric} lost": (one.lost, False),
        }
        if one.score_lost is not None:
            numbers["score lost"] = one.score_lost, False
        values: list[tuple[str, bool, float, float | None]] = [
            (name, better, estimate.value, estimate.standard_error)
            for name, (estimate, better) in numbers.items()
        ]
        values += [
            (f"relative error of outputs, part {number} of {len(one.error)}", False, error, None)
            for number, error in enumerate(one.error, 1)
        ]
        made += [
            Evaluation.of(
                harness="cab probe",
                harness_version=cab.__version__,
                task=card.name,
                task_version=str(card.version),
                metric=name,
                higher_is_better=better,
                value=value,
                standard_error=error,
                n=one.after.n,
                settings={"state_dtype": dtype, "examples": found.examples},
            )
            for name, better, value, error in values
        ]
    return tuple(made)


def plot(found: StatePrecision, folder: Path) -> list[Path]:
    """Draw the relative error at every position, a line for each type; return the file.

    Raises:
        CabError: the folder cannot be written.
    """
    path = folder / "state.svg"
    with figure(path) as ((axes,),):
        for dtype, one in found.rounded.items():
            axes.plot([max(error, 1e-12) for error in one.by_position], label=dtype)
        axes.set_yscale("log")
        axes.set_xlabel("position")
        axes.set_ylabel("relative error of the logits")
        if found.rounded:
            axes.legend(fontsize="small")
    return [path]
