"""A copy of the project's source in a folder that tests may change, found under its own names."""

import importlib
import shutil
from pathlib import Path

import pytest
from support import REPOSITORY

FOLDERS = {"cab": "cab", "cab.variants": "variants", "cab.kernels": "kernels"}


def copy_sources(target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the harness, variants and kernels, and let the packages' paths point to the copy.

    What is imported already stays what it is; the readers of sources find the copy.
    """
    for package, folder in FOLDERS.items():
        shutil.copytree(
            REPOSITORY / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
        module = importlib.import_module(package)
        monkeypatch.setattr(module, "__path__", [str(target / folder)])
    return target


def change(path: Path, old: str = "", new: str = "CHANGED = 1\n") -> None:
    """Replace one text in a file, or append a statement to it."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} does not hold {old!r}"
    changed = text.replace(old, new, 1) if old else f"{text}\n{new}"
    path.write_text(changed, encoding="utf-8")
