"""Write the golden files anew, after a task's version was raised: python tests/golden/write.py"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from first_examples import Golden, golden

from cab.registry import discover_tasks
from cab.task import Recipe

HERE = Path(__file__).parent
EMBEDDED = {"smoke", "quick"}
"""The profiles whose data is generated or public and small."""


def read_examples() -> dict[str, Golden]:
    """What is written down of each task, version and profile."""
    content = json.loads((HERE / "examples.json").read_text())
    return {setting: Golden.from_dict(entry) for setting, entry in content.items()}


def recipe_hash(recipe: Recipe) -> str:
    """Hash a task's recipe of one profile."""
    return hashlib.sha256(json.dumps(recipe.as_dict(), sort_keys=True).encode()).hexdigest()


def recipe_hashes() -> dict[str, str]:
    """The hash of every recipe of every task, by name, version and profile."""
    tasks = discover_tasks()
    return {
        f"{name} v{tasks.card(name).version} {profile}": recipe_hash(recipe)
        for name in tasks.names()
        for profile, recipe in tasks.load(name).recipes.items()
    }


def with_others(now: Golden, before: Golden | None) -> dict[str, Any]:
    """What was drawn here, with the bits of other kinds of processors while they are of it."""
    entry = now.as_dict()
    if before is not None and now.bits and now.agrees(before):
        # A sketch that was written on another kind stays: else it would move a little each time.
        entry = before.as_dict() | {"bits": before.bits | now.bits}
    return entry


def main() -> None:
    """Take every task down; CAB_DATA must hold the data sets."""
    tasks, data = discover_tasks(), Path(os.environ["CAB_DATA"])
    before, examples = read_examples(), {}
    for name in tasks.names():
        task_class, version = tasks.load(name), tasks.card(name).version
        for profile in EMBEDDED & task_class.recipes.keys():
            setting = f"{name} v{version} {profile}"
            now = golden(task_class(task_class.recipes[profile], data))
            examples[setting] = with_others(now, before.get(setting))
    for file, content in (("examples.json", examples), ("recipes.json", recipe_hashes())):
        lines = [f"  {json.dumps(key)}: {json.dumps(content[key])}" for key in sorted(content)]
        (HERE / file).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
