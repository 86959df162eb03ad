"""Which variant fits which task, and what is said where one does not."""

from collections.abc import Sequence

from cab.taxonomy import Family, Pattern, TaskCard, VariantCard


def other_slot(variant: VariantCard, task: TaskCard) -> bool:
    """Whether one is of feature maps and the other is not: they have boards of their own."""
    gate = variant.family == Family.FEATURE_MAP
    return variant.role == "entry" and gate != (task.slot == "feature_map")


def refusal_of(variant: VariantCard, task: TaskCard) -> str:
    """Say by their cards why a variant cannot run on a task; nothing if it can."""
    if task.pattern not in variant.patterns:
        return (
            f"{variant.name} does not offer {task.pattern} ({task.pattern.words}), which "
            f"{task.name} needs; its card offers {', '.join(variant.patterns)}."
        )
    if variant.needs_grid and not task.grid:
        return f"{variant.name} mixes pictures, and the tokens of {task.name} are none."
    if other_slot(variant, task):
        if variant.family == Family.FEATURE_MAP:
            return f"{variant.name} gates feature maps, and {task.name} has none."
        return f"{task.name} is for gates of feature maps, and {variant.name} mixes tokens."
    return ""


def refusal(variant: VariantCard, task: TaskCard, hybrid: bool) -> str:
    """Say why a variant cannot run on a task, as a hybrid or alone; nothing if it can."""
    if not (why := refusal_of(variant, task)) and hybrid and task.pattern != Pattern.CS:
        return f"Hybrids are decoders, of pattern cs; {task.name} is {task.pattern}."
    return why


def unoffered(variant: VariantCard, tasks: Sequence[TaskCard]) -> str:
    """Say of which tasks a variant does not offer the pattern."""
    patterns = ", ".join(dict.fromkeys(card.pattern for card in tasks))
    return (
        f"{variant.name} does not offer {patterns}; its card offers "
        f"{', '.join(variant.patterns)}. Left out: {', '.join(card.name for card in tasks)}."
    )
