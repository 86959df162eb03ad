"""Write the golden hashes anew, after a task's version was raised: python tests/golden/write.py"""

import hashlib
import json
import os
from pathlib import Path

from cab.registry import discover_tasks
from cab.seeding import generator
from cab.task import Task
from cab.worker import fingerprint

HERE = Path(__file__).parent
EMBEDDED = {"smoke", "quick"}
"""The profiles whose data is generated or public and small."""


def examples_hash(task: Task) -> str:
    """Hash the first 100 test and the first 100 training examples."""
    drawn = [task.draw(split, 100, generator("golden", split)) for split in ("test", "train")]
    return fingerprint(*drawn)


def recipe_hash(task_class: type[Task]) -> str:
    """Hash a task's recipes of all profiles."""
    recipes = {profile: recipe.as_dict() for profile, recipe in task_class.recipes.items()}
    return hashlib.sha256(json.dumps(recipes, sort_keys=True).encode()).hexdigest()


def main() -> None:
    """Hash every task; CAB_DATA must hold the data sets."""
    tasks, data = discover_tasks(), Path(os.environ["CAB_DATA"])
    examples, recipes = {}, {}
    for name in tasks.names():
        task_class, version = tasks.load(name), tasks.card(name).version
        recipes[f"{name} v{version}"] = recipe_hash(task_class)
        for profile in EMBEDDED & task_class.recipes.keys():
            task = task_class(task_class.recipes[profile], data)
            examples[f"{name} v{version} {profile}"] = examples_hash(task)
    for file, content in (("examples.json", examples), ("recipes.json", recipes)):
        (HERE / file).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
