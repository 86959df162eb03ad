"""Probing a trained cell: every probe that applies, and why the others do not."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import cab
from cab.analysis import probes
from cab.analysis.figures import figure
from cab.analysis.mixing import Mixing, attentions, mixings
from cab.attention import Attention, MultiHeadAttention
from cab.records.store import Evaluation
from cab.running.trained import TrainedCell
from cab.running.training import evaluate
from cab.task import IGNORED, Batch, Task, slice_batch

ACROSS = 4
"""Drawings beside each other."""

LONGEST_FLOW = 1024
"""Tokens; flows take the cube of them, 0.6 s of 256 in three layers."""


@dataclass(frozen=True)
class Probed:
    """What was found of a cell.

    heads holds a number per head by probe and layer; importance what the metric loses without a
    head; influence each token's share in the answers behind it; flow what can flow from each token
    of the first example to its last answer; collapse the similarity of answers by length. left_out
    says what does not apply, and why.
    """

    mixings: tuple[Mixing, ...]
    examples: int
    heads: Mapping[str, Mapping[str, list[float]]]
    importance: Mapping[str, list[float]]
    rollout: Tensor | None
    influence: list[float]
    flow: list[float]
    collapse: Mapping[int, float]
    left_out: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)


def probe(trained: TrainedCell, count: int = 16) -> Probed:
    """Probe a cell on its first test examples; head importance is measured on all of them."""
    task, model, card = trained.task, trained.model.eval(), trained.cell.task
    batch = slice_batch(task.examples("test"), 0, count)

    def run() -> None:
        task.loss(model, batch)

    maps = mixings(model, card.pattern, run)
    left_out = [
        f"{one.layer} ({one.variant}) has no attention weights; the norms of its Jacobian for one "
        f"example are used instead, as one head."
        for one in maps
        if one.kind == "Jacobian"
    ]
    alone = not card.pattern.cross and len({one.map.shape[-2:] for one in maps}) == 1
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "entropy": probes.entropy,
        "sink_mass": probes.sink_mass,
        "effective_rank": probes.effective_rank,
    }
    if alone:
        functions |= {
            "distance": probes.distance,
            "far": probes.far,
            "low_pass": probes.low_pass,
        }
    heads = {
        name: {one.layer: function(one.map).tolist() for one in maps}
        for name, function in functions.items()
    }
    whole, influence, flow = None, list[float](), list[float]()
    if alone and maps:
        least = min(one.map.shape[0] for one in maps)
        whole = probes.rollout([one.map[:least] for one in maps])
        influence = probes.future_influence(whole).tolist() if card.pattern.causal else []
        if (last := whole.shape[-1] - 1) < LONGEST_FLOW:
            (flow,) = probes.flow([one.map[:1] for one in maps], last).tolist()
        else:
            left_out.append(f"flow is skipped: the sequence has more than {LONGEST_FLOW} tokens.")
    else:
        left_out.append(
            "distance, far, low_pass, rollout and flow are skipped: they need self-attention over "
            "one sequence."
        )
    if found := _of_answers(batch, maps):
        heads |= found
    else:
        left_out.append(
            "retrieval and contextual are skipped: they need a task whose labels are tokens of "
            "its input."
        )
    importance = _importance(trained)
    if not importance:
        left_out.append(
            "importance is skipped: it needs the output projection of MultiHeadAttention."
        )
    return Probed(
        tuple(maps),
        len(next(iter(batch.values()))),
        heads,
        importance,
        whole,
        influence,
        flow,
        _collapse(task, model, card.pattern.cross, count),
        tuple(left_out),
        {"examples": count},
    )


def _of_answers(batch: Batch, maps: Sequence[Mixing]) -> dict[str, dict[str, list[float]]]:
    """What heads do at the tokens to be answered, by probe and layer; nothing on other tasks."""
    inputs, targets = batch.get("inputs"), batch.get("targets")
    if inputs is None or targets is None or targets.is_floating_point():
        return {}
    if inputs.shape != targets.shape or inputs.dim() != 2:
        return {}
    fitting = [one for one in maps if one.map.shape[-2:] == (inputs.shape[1],) * 2]
    if not fitting:
        return {}
    asked = targets != IGNORED
    functions = {"retrieval": probes.retrieval, "contextual": probes.contextual}
    return {
        name: {
            one.layer: function(
                one.map, *(x[: len(one.map)] for x in (inputs, targets, asked))
            ).tolist()
            for one in fitting
        }
        for name, function in functions.items()
    }


@contextmanager
def _without_head(module: MultiHeadAttention, head: int) -> Iterator[None]:
    """Zero what a head gives to the output projection, while the context lasts."""
    own = slice(head * module.head_width, (head + 1) * module.head_width)

    def mute(_: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        (mixed,) = arguments
        kept = torch.ones(mixed.shape[-1], dtype=mixed.dtype, device=mixed.device)
        kept[own] = 0.0
        return (mixed * kept,)

    handle = module.output.register_forward_pre_hook(mute)
    try:
        yield
    finally:
        handle.remove()


def _importance(trained: TrainedCell) -> dict[str, list[float]]:
    r"""What the test metric loses without a head, more being better for every metric.

    .. math:: I_h = \mathrm{metric} - \mathrm{metric}_{h = 0}

    By ablation ("Are Sixteen Heads Really Better than One?", Michel et al., 2019,
    arXiv 1905.10650).
    """
    task, model, card = trained.task, trained.model, trained.cell.task
    accelerator, test = Accelerator(cpu=True), task.examples("test")
    sign = 1.0 if card.higher_is_better else -1.0

    def score() -> float:
        return sign * evaluate(task, model, test, accelerator)[card.metric].value

    found: dict[str, list[float]] = {}
    whole = score()
    for name, module in attentions(model, card.pattern):
        # A variant that writes its own forward pass may join its heads elsewhere.
        if isinstance(module, MultiHeadAttention) and _joins_heads(module):
            losses = []
            for head in range(module.heads):
                with _without_head(module, head):
                    losses.append(whole - score())
            found[name] = losses
    return found


def _joins_heads(module: MultiHeadAttention) -> bool:
    width = module.heads * module.head_width
    own = type(module).forward is MultiHeadAttention.forward
    return own and isinstance(module.output, nn.Linear) and module.output.in_features == width


@torch.no_grad()
def _collapse(task: Task, model: nn.Module, cross: bool, count: int) -> dict[int, float]:
    """The similarity of the last self attention's answers, at each length that the task has."""
    if cross:
        return {}
    last = [module for module in model.modules() if isinstance(module, Attention)][-1]
    found = {}
    for factor, other in sorted({**task.at_lengths(), 1.0: task}.items()):
        batch = slice_batch(other.examples("test"), 0, max(1, int(count / max(1.0, factor))))
        heard: list[Tensor] = []
        handle = last.register_forward_hook(lambda *call, heard=heard: heard.append(call[-1]))
        try:
            other.loss(model, batch)
        except Exception:
            continue
        finally:
            handle.remove()
        if heard and heard[0].shape[1] > 1:
            found[heard[0].shape[1]] = probes.similarity(heard[0])
    return found


def evaluations(trained: TrainedCell, found: Probed) -> tuple[Evaluation, ...]:
    """Return the mean over layers and heads of each probe, for the record."""
    numbers = {
        name: [v for h in layers.values() for v in h] for name, layers in found.heads.items()
    }
    numbers |= {f"similarity at {n}": [value] for n, value in found.collapse.items()}
    if found.importance:
        numbers["largest importance"] = [max(v for h in found.importance.values() for v in h)]
    return tuple(
        Evaluation.of(
            harness="cab probe",
            harness_version=cab.__version__,
            task=trained.cell.task.name,
            task_version=str(trained.cell.task.version),
            metric=name,
            higher_is_better=None,
            value=sum(values) / len(values),
            n=found.examples,
            settings=dict(found.settings),
        )
        for name, values in numbers.items()
        if values
    )


def plot(found: Probed, folder: Path) -> list[Path]:
    """Draw the maps, the rollout, the probes by head and the influence; return the files.

    Raises:
        CabError: the folder cannot be written.
    """
    written = []
    heads = max(one.map.shape[1] for one in found.mixings)
    written.append(folder / "maps.svg")
    with figure(written[-1], len(found.mixings), heads) as grid:
        for row, one in zip(grid, found.mixings, strict=True):
            for head, axes in enumerate(row):
                if head < one.map.shape[1]:
                    axes.imshow(one.map[0, head].numpy(), cmap="viridis", aspect="auto")
                    axes.set_title(f"{one.layer}, head {head}\n{one.kind}", fontsize="small")
                    axes.set_xlabel("key")
                    axes.set_ylabel("query")
                else:
                    axes.set_axis_off()
    bars = {**found.heads, **({"importance": found.importance} if found.importance else {})}
    written.append(folder / "heads.svg")
    with figure(written[-1], -(-len(bars) // ACROSS), ACROSS) as grid:
        for axes in grid.flat[len(bars) :]:
            axes.set_axis_off()
        for axes, (name, layers) in zip(grid.flat, bars.items(), strict=False):
            labels = [f"{n}.{h}" for n, (_, v) in enumerate(layers.items()) for h in range(len(v))]
            axes.bar(labels, [value for values in layers.values() for value in values])
            axes.set_title(name)
            axes.set_xlabel("layer.head")
    if found.rollout is not None:
        written.append(folder / "rollout.svg")
        with figure(written[-1], 1, 3) as (row,):
            row[0].imshow(found.rollout[0].numpy(), cmap="viridis", aspect="auto")
            row[0].set_title("rollout")
            row[1].plot(found.influence)
            row[1].set_title("influence on what follows")
            row[2].plot(found.flow, label="flow")
            row[2].plot(found.rollout[0, -1].numpy(), label="rollout")
            row[2].set_title("to the last answer")
            row[2].legend(fontsize="small")
            for axes in row[1:]:
                axes.set_xlabel("token")
    return written
