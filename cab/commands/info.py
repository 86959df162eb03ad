"""`cab info`: show one variant, task, profile or data set in full."""

import dataclasses
import inspect
from typing import Annotated, Any

import typer

from cab.commands.common import output
from cab.commands.common.options import Include, Json
from cab.data import DATA_SETS
from cab.errors import UnknownName
from cab.profiles import PROFILES
from cab.records.folders import results_folders
from cab.registry import Registry, certified, discover_tasks, discover_variants


def info(
    name: Annotated[str, typer.Argument(help="A variant, task, profile or data set.")],
    include: Include = None,
    json: Json = False,
) -> None:
    """Show one variant, task, profile or data set in full."""
    files = tuple(include or ())
    variants, tasks = discover_variants(files), discover_tasks(files)
    if name in variants.entries:
        facts = _variant(variants, name)
    elif name in tasks.entries:
        facts = _task(tasks, name)
    elif name in PROFILES:
        done, all_ = certified(tasks, name)
        facts = {"kind": "profile", **output.plain(PROFILES[name])}
        facts["certified"] = f"{done} of {all_} tasks"
    elif name in DATA_SETS:
        facts = {"kind": "data set", **output.plain(DATA_SETS[name])}
    else:
        known = [*variants.entries, *tasks.entries, *PROFILES, *DATA_SETS]
        raise UnknownName("variant, task, profile or data set", name, known)
    if json:
        return output.print_json(facts)
    description = facts.pop("description", "")
    output.print_table(name, ("", ""), _rows(facts))
    if description:
        output.out.print(description, markup=False)


def _rows(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows.extend(_rows(value, f"{prefix}{key}."))
        elif value not in (None, "", [], ()):
            text = ", ".join(map(_said, value)) if isinstance(value, list) else str(value)
            rows.append((prefix + key, text))
    return rows


def _said(value: Any) -> str:
    """One of a list as text; of fields, such as a model and its source, the values."""
    return ": ".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def _card(registry: Registry[Any], name: str) -> dict[str, Any]:
    entry = registry.entry(name)
    return {"kind": registry.kind, **output.plain(entry.card), "file": str(entry.path)}


def _variant(registry: Registry[Any], name: str) -> dict[str, Any]:
    loaded: Any = registry.load(name)
    settings = {
        field.name: {
            "type": str(getattr(field.type, "__name__", field.type)),
            "default": output.plain(field.default),
        }
        for field in dataclasses.fields(loaded.Config)
    }
    return {
        **_card(registry, name),
        "settings": settings,
        "invariance": _invariance(registry, name),
        "description": inspect.getdoc(loaded) or "",
    }


def _invariance(registry: Registry[Any], name: str) -> dict[str, Any]:
    """Batch invariance and split prefill as published; nothing if none of this source is."""
    from cab.records.by_variant import split_by_source
    from cab.records.invariance import FILE, read_invariance, words
    from cab.records.sources import installed_sources

    for path in results_folders().files(".", FILE)[0]:
        kept, _ = split_by_source(read_invariance(path), installed_sources(registry, [name]))
        if one := kept.get(name):
            return {
                "measured with": f"PyTorch {one.torch} on {one.processor}, in float32",
                **{
                    pattern: {
                        "in a batch": words(found.batch),
                        "in a batch, by steps": words(found.decoding),
                        "prompt in parts": words(found.prefill),
                    }
                    for pattern, found in one.patterns.items()
                },
            }
    return {}


def _task(registry: Registry[Any], name: str) -> dict[str, Any]:
    from cab.task import level_names

    loaded: Any = registry.load(name)
    recipes = {}
    for profile, recipe in loaded.recipes.items():
        names = enumerate(level_names(recipe.levels), 1)
        recipes[profile] = {
            **output.plain(recipe),
            "levels": {str(number): said for number, said in names},
        }
    return {
        **_card(registry, name),
        "recipes": recipes,
        "description": inspect.getdoc(loaded) or "",
    }
