"""Cells: variant x task x profile x settings x seed, and the plan of those that are to run."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cab
from cab.attention import Attention
from cab.errors import CabError
from cab.profiles import Profile
from cab.records.parts import Settings, TaskInfo, VariantInfo
from cab.records.rates import SEARCH_SEED
from cab.records.sources import Sources
from cab.registry import Entry, Registry, import_file, name_of_role
from cab.running.fitting import (
    model_refusal,
    other_slot,
    refusal,
    refuse_other_length,
    refuse_unrecordable,
    unoffered,
)
from cab.running.recipes import HYBRID, RATE, is_of_recipe, recipe_of
from cab.settings import parse_settings
from cab.task import Recipe, Task
from cab.taxonomy import Domain, Pattern, TaskCard, VariantCard, of_suite


@dataclass(frozen=True)
class Cell:
    """One training run. Its key hashes everything that changes its result.

    unchecked: the laws were not checked first, so the result is never published.
    checkpoints: the folder for the trained weights, or None; processes: how many processes train
    it together. Neither changes the result, so neither is part of the key.
    task_source: the source hash of a task that is not built in, whose version its author may
    forget to raise; task_file: its file, if it belongs to no package.
    """

    variant: VariantCard
    source_hash: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    task: TaskCard
    profile: Profile
    recipe: Recipe
    changed: Mapping[str, Any]
    seed: int
    include: tuple[Path, ...] = ()
    unchecked: bool = False
    checkpoints: Path | None = None
    processes: int = 1
    task_source: str | None = None
    task_file: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Its recipe holds classes of the task's file, which no process can import by their name:
        # the file is imported first, since arguments are restored in their order.
        return _restored, (_TaskFile(self.task_file), dict(self.__dict__))

    @cached_property
    def key(self) -> str:
        """The content key: equal for equal source, task version, settings and seed."""
        content: dict[str, Any] = {
            "variant": self.variant.name,
            "source": self.source_hash,
            "config": dict(self.config),
            "task": self.task.name,
            "task_version": self.task.version,
            "profile": self.profile.name,
            "recipe": self.recipe.as_dict(),
            "seed": self.seed,
            "cab": cab.__version__.split(".")[0],
        }
        if self.unchecked:
            content["unchecked"] = True
        if self.task_source is not None:
            content["task_source"] = self.task_source
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def title(self) -> str:
        """The cell in words, for progress and errors."""
        return f"{self.variant.name} on {self.task.name} ({self.task.pattern}), seed {self.seed}"

    def variant_info(self, parameters: int | None = None) -> VariantInfo:
        """The mechanism, as records and checkpoints name it."""
        return VariantInfo(
            name=self.variant.name,
            source_hash=self.source_hash,
            config=self.config,
            options=self.options,
            parameters=parameters,
            unchecked=self.unchecked,
        )

    def task_info(self, data_fingerprint: str | None = None) -> TaskInfo:
        """The task, as records and checkpoints name it."""
        return TaskInfo(
            name=self.task.name,
            version=self.task.version,
            profile=self.profile.name,
            pattern=self.task.pattern,
            domain=self.task.domain,
            metric=self.task.metric,
            higher_is_better=self.task.higher_is_better,
            data_fingerprint=data_fingerprint,
            source_hash=self.task_source,
        )

    def settings(self) -> Settings:
        """The recipe, as records and checkpoints hold it."""
        return Settings(recipe=self.recipe.as_dict(), changed=self.changed)


class _TaskFile:
    """A task's file, which is imported where a cell arrives in another process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            import_file(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return _TaskFile, (self._path,)


def _restored(_: _TaskFile, fields: dict[str, Any]) -> Cell:
    cell = Cell.__new__(Cell)
    cell.__dict__.update(fields)
    return cell


@dataclass(frozen=True)
class Request:
    """What the user requested; empty selections mean everything that the variant supports.

    tasks: by default those that are scored in the profile (in quick, where nothing is scored), and
    those for gates of feature maps; with `diagnostic` or `suite` all that have a recipe there.
    every: tasks that a variant does not support are skipped, even if they were named.
    rates: of a task with several learning rates all are planned, with seed 0 (the other seeds
    follow at the best, see `cab.running.search`); otherwise `seeds` cells, by default one, at the
    recipe's own rate or the one that was set.
    """

    variants: Sequence[str]
    profile: Profile
    seeds: int | None = None
    tasks: Sequence[str] = ()
    patterns: Sequence[Pattern] = ()
    domains: Sequence[Domain] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    include: tuple[Path, ...] = ()
    unchecked: bool = False
    diagnostic: bool = False
    checkpoints: Path | None = None
    processes: int = 1
    every: bool = False
    rates: bool = False
    suite: str | None = None


@dataclass(frozen=True)
class Plan:
    """The cells to run, task by task, and a sentence for each skipped task."""

    cells: tuple[Cell, ...]
    left_out: tuple[str, ...]


def plan(
    request: Request,
    variants: Registry[VariantCard],
    tasks: Registry[TaskCard],
    sources: Sources | None = None,
) -> Plan:
    """Expand a request into cells; `sources` remembers hashes between many requests.

    Raises:
        CabError: an unknown name or setting, or a named pattern or task that the variant does not
            support.
    """
    sources = sources or Sources()
    chosen = _choose_tasks(request, tasks)
    of_tasks = {card.name: _of_task(tasks.entry(card.name), sources) for card in chosen}
    options = {key: value for key, value in request.options.items() if not is_of_recipe(key)}
    cells: list[Cell] = []
    left_out: list[str] = []
    own_files = {card.name for card in chosen if not tasks.entry(card.name).built_in}
    for name in dict.fromkeys(request.variants):
        entry = variants.entry(name)
        attention = variants.load(name)
        assert issubclass(attention, Attention)
        config = parse_settings(attention.Config, options, f"variant {name}")
        values, defaults = dataclasses.asdict(config), dataclasses.asdict(attention.Config())
        shared: dict[str, Any] = {
            "variant": entry.card,
            "source_hash": sources.hash(entry.path),
            "config": values,
            "options": {k: v for k, v in values.items() if v != defaults[k]},
            "profile": request.profile,
            "include": request.include,
            "unchecked": request.unchecked,
            "checkpoints": request.checkpoints,
            "processes": request.processes,
        }
        lacking: list[TaskCard] = []
        for card in chosen:
            if other_slot(entry.card, card) and card.name not in request.tasks:
                continue
            if reason := refusal(entry.card, card, HYBRID in request.options):
                by_name = card.name in request.tasks or card.pattern in request.patterns
                if by_name and not request.every:
                    raise CabError(reason)
                if card.pattern in entry.card.patterns:
                    left_out.append(reason)
                else:
                    lacking.append(card)
                continue
            task = tasks.load(card.name)
            assert issubclass(task, Task)
            if request.profile.name not in task.recipes:
                reason = f"{card.name} has no recipe for profile {request.profile.name}."
                if card.name in request.tasks:
                    raise CabError(reason)
                left_out.append(reason)
                continue
            if card.name in own_files:  # of CAB's own a test says that they hold
                own_files.remove(card.name)
                stated = task.recipes.get("quick", task.recipes[request.profile.name])
                reference = variants.load(name_of_role(variants, "reference"))
                refuse_other_length(task, stated, reference)
            recipe, changed = recipe_of(task, request.profile, request.options)
            model = recipe.model
            if model != task.recipes[request.profile.name].model and (
                reason := model_refusal(attention, config, card.pattern, model)
            ):
                if not request.every:
                    raise CabError(f"{card.name} with these settings: {reason}")
                left_out.append(reason)
                continue
            if recipe.train.batch_size < request.processes:
                raise CabError(
                    f"{card.name} has a batch size of {recipe.train.batch_size}, too small for "
                    f"--processes {request.processes}."
                )
            own = {**shared, **of_tasks[card.name], "recipe": recipe, "changed": changed}
            refuse_unrecordable(first := Cell(**own, seed=SEARCH_SEED))
            if request.rates and recipe.rates and RATE not in request.options:
                each = [recipe.at_rate(rate) for rate in recipe.rates]
                cells.extend(dataclasses.replace(first, recipe=one) for one in each)
            else:
                seeds = range(request.seeds or 1)
                cells.extend(dataclasses.replace(first, seed=seed) for seed in seeds)
        if lacking:
            left_out.append(unoffered(entry.card, lacking))
    return Plan(tuple(cells), tuple(left_out))


def _of_task(entry: Entry[TaskCard], sources: Sources) -> dict[str, Any]:
    return {
        "task": entry.card,
        "task_source": None if entry.built_in else sources.hash(entry.path),
        "task_file": entry.path if entry.included else None,
    }


def _choose_tasks(request: Request, tasks: Registry[TaskCard]) -> list[TaskCard]:
    named = [tasks.card(name) for name in dict.fromkeys(request.tasks)]
    if suite := request.suite:
        named = [card for card in of_suite(tasks.cards(), suite) if not named or card in named]
    named = named or _row(request, tasks)
    chosen = [
        card
        for card in named
        if card.pattern in (request.patterns or Pattern)
        and card.domain in (request.domains or Domain)
    ]
    if not chosen:
        those = "; ".join(f"{c.name} is {c.pattern}, {c.domain}" for c in named if request.tasks)
        raise CabError(
            f"No task matches the selection{those and ': ' + those}. Change --task, --pattern or "
            "--domain, or add --diagnostic."
        )
    return chosen


def _row(request: Request, tasks: Registry[TaskCard]) -> list[TaskCard]:
    """The tasks of a whole row."""
    scoring = request.profile.name if request.profile.scored else "quick"
    row = [card for card in tasks.cards() if card.in_row(scoring)]
    if request.diagnostic or not row:
        return tasks.cards()
    return [card for card in tasks.cards() if card in row or card.slot != "mixer"]
