"""Trained weights, stored as two files: <folder>/<key>.safetensors and <key>.json.

The JSON file names the cell of the weights and holds their checksum. Neither file is unpickled:
safetensors holds only numbers and names, so a downloaded checkpoint cannot run code.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from torch import nn

import cab
from cab.errors import CabError
from cab.records.fields import Line, Seed
from cab.records.files import whole
from cab.records.parts import Part
from cab.records.store import Settings, TaskInfo, VariantInfo
from cab.running.cells import Cell

SUFFIX = ".safetensors"
NAMED = 3
"""How many differences an error names."""


class Checkpoint(Part):
    """What weights are of: the parts of a record that name its cell. sha256 is of the weights."""

    schema_version: Literal[1] = 1
    key: str = Field(pattern=r"^[0-9a-f]{32}$")
    variant: VariantInfo
    task: TaskInfo
    seed: Seed
    settings: Settings
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    cab: Line

    @property
    def title(self) -> str:
        """The cell in words."""
        return (
            f"{self.variant.name} on {self.task.name} ({self.task.profile}), seed {self.seed}"
            + "".join(f", {k}={v}" for k, v in {**self.variant.options, **self.changed}.items())
        )

    @property
    def changed(self) -> dict[str, object]:
        """What of the recipe was set off the task's own."""
        return dict(self.settings.changed)


def save(model: nn.Module, cell: Cell, folder: Path) -> Path:
    """Keep a model's weights, and return the JSON file beside them.

    Each file comes into its place whole, the JSON last: where it stands, the weights do.

    Raises:
        CabError: the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    weights, manifest = folder / f"{cell.key}{SUFFIX}", folder / f"{cell.key}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole(weights) as beside:
            save_model(model, str(beside))
        content = _describe(cell, _checksum(weights)).model_dump_json(indent=2) + "\n"
        with whole(manifest) as beside:
            beside.write_text(content, encoding="utf-8")
    except (OSError, SafetensorError) as error:  # the latter if the disk is full
        raise CabError(f"The weights cannot be saved in {folder}: {error}.") from None
    return manifest


def _describe(cell: Cell, sha256: str) -> Checkpoint:
    return Checkpoint(
        key=cell.key,
        variant=cell.variant_info(),
        task=cell.task_info(),
        seed=cell.seed,
        settings=cell.settings(),
        sha256=sha256,
        cab=cab.__version__,
    )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(path: Path, variant: str, task: str | None = None) -> Path:
    """Return the JSON file of a variant's checkpoint: `path` itself, or the one in that folder.

    Raises:
        CabError: there is none, or more than one; the message lists what there is.
    """
    if not path.is_dir():
        manifest = path.with_suffix(".json")
        kept = read(manifest)
        if kept.variant.name != variant or task not in (None, kept.task.name):
            wanted = variant if task is None else f"{variant} on {task}"
            raise CabError(f"{manifest} holds the weights of {kept.title}, not of {wanted}.")
        return manifest
    all_ = list(_scan(path))
    fitting = [
        (file, kept)
        for file, kept in all_
        if kept.variant.name == variant and task in (None, kept.task.name)
    ]
    if len(fitting) == 1:
        return fitting[0][0]
    wanted = variant if task is None else f"{variant} on {task}"
    if not fitting:
        there = "; ".join(kept.title for _, kept in all_) or "none"
        raise CabError(
            f"{path} has no checkpoint of {wanted}. It has: {there}. "
            f"`cab run --checkpoints {path}` saves weights there."
        )
    there = "; ".join(f"{file.name}: {kept.title}" for file, kept in fitting)
    raise CabError(
        f"{path} has {len(fitting)} checkpoints of {wanted}; give one of the files: {there}."
    )


def _scan(folder: Path) -> Iterator[tuple[Path, Checkpoint]]:
    for file in sorted(folder.glob("*.json")):
        if file.with_suffix(SUFFIX).exists():
            yield file, read(file)


def read(manifest: Path) -> Checkpoint:
    """Return what a checkpoint's JSON file says.

    Raises:
        CabError: it is missing, cut short or foreign.
    """
    try:
        return Checkpoint.model_validate_json(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CabError(
            f"There is no file {manifest}. A checkpoint consists of KEY{SUFFIX} and KEY.json in "
            f"one folder, as `cab run --checkpoints` writes them."
        ) from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise CabError(f"{manifest} is not a checkpoint of CAB: {first}.") from None


def load(manifest: Path, model: nn.Module, cell: Cell) -> None:
    """Put a checkpoint's weights into the model that was built for its cell.

    Raises:
        CabError: it is of another cell, was altered, or does not fit the model; says how.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    kept, weights = read(manifest), manifest.with_suffix(SUFFIX)
    if kept.key != cell.key:
        raise CabError(
            f"{manifest} holds the weights of {kept.title} (key {kept.key}), but the model is of "
            f"{cell.title} (key {cell.key}): {_difference(kept, cell)}."
        )
    try:
        if _checksum(weights) != kept.sha256:
            raise CabError(
                f"{weights} does not have the checksum in {manifest.name}. It was changed or "
                f"copied incompletely; copy it again."
            )
        load_model(model, weights)
    except OSError as error:
        raise CabError(f"{weights} cannot be read: {error}.") from None
    except (SafetensorError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join(lines[1 : 1 + NAMED] or lines)
        raise CabError(f"{weights} does not fit the model of {cell.title}: {said}") from None


def _difference(kept: Checkpoint, cell: Cell) -> str:
    """Say which parts of two cells differ."""
    recipe = cell.recipe.as_dict()
    pairs = {
        "variant": (kept.variant.name, cell.variant.name),
        "settings": (dict(kept.variant.config), dict(cell.config)),
        "task": (kept.task.name, cell.task.name),
        "task's version": (kept.task.version, cell.task.version),
        "task's source": (kept.task.source_hash, cell.task_source),
        "profile": (kept.task.profile, cell.profile.name),
        "recipe": (kept.settings.recipe, recipe),
        "seed": (kept.seed, cell.seed),
        "source": (kept.variant.source_hash, cell.source_hash),
        "check of the laws": (kept.variant.unchecked, cell.unchecked),
    }
    other = [name for name, (one, two) in pairs.items() if one != two]
    return f"other {', '.join(other)}" if other else "another version of CAB"
