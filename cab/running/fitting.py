"""Which variant fits which task, which cell can be recorded, and the message if it does not."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import nn

from cab.attention import Attention, build_attention
from cab.backbones.slots import Slots, Width
from cab.errors import CabError, Unsupported, UnsupportedWidth
from cab.records.fields import first_fault
from cab.records.parts import Settings, VariantInfo
from cab.task import LONGEST, Recipe, Task
from cab.taxonomy import Family, Pattern, TaskCard, VariantCard


def other_slot(variant: VariantCard, task: TaskCard) -> bool:
    """Whether only one of the two is for feature maps, which have a separate leaderboard."""
    gate = variant.family == Family.FEATURE_MAP
    return variant.role == "entry" and gate != (task.slot == "feature_map")


def refusal_of(variant: VariantCard, task: TaskCard) -> str:
    """Say from the cards why a variant cannot run on a task; an empty string if it can."""
    if task.pattern not in variant.patterns:
        return (
            f"{variant.name} does not support {task.pattern} ({task.pattern.words}), which "
            f"{task.name} needs. It supports {', '.join(variant.patterns)}."
        )
    if variant.needs_grid and not task.grid:
        return f"{variant.name} needs a picture, but the tokens of {task.name} are not one."
    if other_slot(variant, task):
        if variant.family == Family.FEATURE_MAP:
            return f"{variant.name} gates feature maps, but {task.name} has none."
        return f"{task.name} is for gates of feature maps, but {variant.name} mixes tokens."
    return ""


def refusal(variant: VariantCard, task: TaskCard, hybrid: bool) -> str:
    """Say why a variant, or its hybrid, cannot run on a task; an empty string if it can."""
    if not (why := refusal_of(variant, task)) and hybrid and task.pattern != Pattern.CS:
        return f"--hybrid needs a task of pattern cs; {task.name} has pattern {task.pattern}."
    return why


def unoffered(variant: VariantCard, tasks: Sequence[TaskCard]) -> str:
    """Say which tasks are skipped because the variant does not support their pattern."""
    patterns = ", ".join(dict.fromkeys(card.pattern for card in tasks))
    return (
        f"{variant.name} does not support {patterns}, only {', '.join(variant.patterns)}. "
        f"Skipped: {', '.join(card.name for card in tasks)}."
    )


def model_refusal(attention: type[Attention], config: Any, pattern: Pattern, model: Any) -> str:
    """Say why a variant cannot fill a backbone of these settings; an empty string if it can.

    That is, whether it takes heads of this width, and rotary positions if they are asked for.
    """
    width: Width = model.width
    geometry: dict[str, Any] = {"dim": width.dim, "heads": width.heads, "pattern": pattern}
    try:
        with torch.random.fork_rng(devices=[]):
            built = attention(config, max_length=64, grid=(8, 8), **geometry)
    except UnsupportedWidth as error:
        return str(error)
    except Exception:  # what else is wrong with it shows in its cell
        return ""
    if getattr(model, "positions", None) == "rotary":
        try:
            built.turn_by(nn.Identity())
        except Unsupported as error:
            return str(error)
    return ""


def slots_of(task: Task, reference: type[Attention]) -> Slots:
    """Slots for a task's network, with the reference in the layers under test, too."""
    fill = partial(build_attention, reference, {})
    stretch = LONGEST if task.at_lengths() else 1
    return Slots(task.card.pattern, fill, fill, stretch=stretch)


def built_length(task: Task, reference: type[Attention]) -> int:
    """The longest sequence for which a task's recipe builds the layers under test.

    They are filled with the reference; no random number is taken.
    """
    slots = slots_of(task, reference)
    with torch.random.fork_rng(devices=[]):
        task.build(slots)
    return max((one.train_length for one in slots.tested), default=0)


def stated_lengths(card: TaskCard) -> list[int]:
    """The numbers in the length that a task's card states."""
    return [int(one.replace(",", "")) for one in re.findall(r"\d[\d,]*", card.length)]


def refuse_other_length(task: type[Task], recipe: Recipe, reference: type) -> None:
    """Refuse a task whose card states another length than its recipe builds.

    A card that states no number says nothing about its length.

    Raises:
        CabError: no number in the card's length is that of the longest sequence.
    """
    assert issubclass(reference, Attention)
    try:
        built = built_length(task(recipe), reference)
    except Exception:  # what is wrong with it shows in its cell
        return
    stated = stated_lengths(task.card)
    if stated and built and built not in stated:
        raise CabError(
            f'The card of {task.card.name} states the length "{task.card.length}", but its recipe '
            f"builds attention for sequences of up to {built:,}. Correct length in @register_task "
            f"or the recipe."
        )


class Recorded(Protocol):
    """The parts of a cell that its record will hold."""

    @property
    def title(self) -> str:
        """The cell in words."""

    def variant_info(self) -> VariantInfo:
        """The mechanism."""

    def settings(self) -> Settings:
        """The recipe."""


def refuse_unrecordable(cell: Recorded) -> None:
    """Refuse a cell, before it runs, whose settings its record could not hold.

    Raises:
        CabError: for example, a number in them has more than 64 bits.
    """
    try:
        cell.variant_info()
        cell.settings()
    except ValidationError as error:
        fault = first_fault(error, "the settings")
        raise CabError(f"{cell.title} cannot be recorded: {fault}. Change its --set.") from None
