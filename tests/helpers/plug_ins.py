"""Plug-in packages and files with helpers, for tests of what belongs to a variant's source."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from cab.records.sources import installed_sources
from cab.registry import discover_variants

HEAD = """import torch
from cab.attention import MultiHeadAttention
from cab.registry import register_variant
"""

BODY = """
@register_variant(name="plugged", family="control", patterns="ns cs nc cc", summary="for a test")
class Plugged(MultiHeadAttention):
    def attend(self, q, k, v, *, key_padding_mask=None):
        return factor * q
"""


def source(top: str) -> str:
    """A variant that multiplies its queries by `factor`, which the statements at its top bring."""
    return f"{HEAD}{top}\n{BODY}"


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by their path below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def install(folder: Path, module: str, files: Mapping[str, str]) -> dict[str, str]:
    """Write a package that offers a module as a variant; return the environment that finds it."""
    info = {
        "METADATA": "Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n",
        "entry_points.txt": f"[cab.variants]\nplugged = {module}\n",
    }
    write(folder, {f"plugged-1.0.dist-info/{name}": text for name, text in info.items()})
    write(folder, files)
    return {"PYTHONPATH": str(folder)}


@lru_cache
def installed_source(variant: str) -> str:
    """The source hash of a built-in variant, or a made-up one of any other name."""
    return installed_sources(discover_variants(), [variant]).get(variant, "a" * 64)
