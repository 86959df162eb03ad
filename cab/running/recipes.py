"""The recipe of a cell: the task's own, with what `--set` changes of training and of sizes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from cab.profiles import Profile
from cab.records.rates import with_further
from cab.settings import parse_settings
from cab.task import Recipe, Task

TRAINING_PREFIX, MODEL_PREFIX = "train.", "model."
HYBRID = MODEL_PREFIX + "hybrid"
RATE = TRAINING_PREFIX + "learning_rate"


def is_of_recipe(setting: str) -> bool:
    """Whether a setting is one of the recipe, not of the variant."""
    return setting.startswith((TRAINING_PREFIX, MODEL_PREFIX))


def recipe_of(
    task: type[Task], profile: Profile, options: Mapping[str, str]
) -> tuple[Recipe, dict[str, Any]]:
    """Return the task's recipe with training and sizes as asked for, and what that changed.

    One of the task's own rates, or of those that its search may try beyond them, is no change.

    Raises:
        CabError: a setting that is not known, or a value that does not fit it.
    """
    recipe = task.recipes[profile.name]
    name = task.card.name
    train, retrained = _replaced(
        recipe.train, options, TRAINING_PREFIX, f"the training of {name} (train.*)"
    )
    beside = {MODEL_PREFIX + key for key in getattr(recipe.model, "options", ())}
    sizes = {key: value for key, value in options.items() if key not in beside}
    owner = f"the backbone of {name} (model.*)"
    width, resized = _replaced(recipe.model.width, sizes, MODEL_PREFIX, owner)
    if retrained.get(RATE) in with_further(recipe.rates):
        del retrained[RATE]
    changed = {**retrained, **resized}
    model = recipe.model
    if own := {key: value for key, value in options.items() if key in beside}:
        model, replaced = _replaced(model, own, MODEL_PREFIX, owner)
        changed |= replaced
    model = dataclasses.replace(model, width=width)
    return dataclasses.replace(recipe, train=train, model=model), changed


def _replaced(
    settings: Any, options: Mapping[str, str], prefix: str, owner: str
) -> tuple[Any, dict[str, Any]]:
    """Return settings with the options of a prefix, and those that differ from before."""
    own = dataclasses.asdict(settings)
    asked = {k.removeprefix(prefix): v for k, v in options.items() if k.startswith(prefix)}
    replaced = parse_settings(type(settings), {**own, **asked}, owner)
    values = dataclasses.asdict(replaced)
    return replaced, {prefix + key: value for key, value in values.items() if value != own[key]}
