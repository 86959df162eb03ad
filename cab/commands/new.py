"""`cab new`: write a file to start from."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from cab.commands.common import output
from cab.commands.common.help import Command
from cab.errors import CabError
from cab.records.files import write_file
from cab.registry import Registry, discover_tasks, discover_variants
from cab.taxonomy import NAME, Family

File = Annotated[
    Path | None,
    typer.Option("--file", help="File to write. Default: the name with .py in this folder."),
]
TAKEN = ("", "Cached")
"""Beginnings of classes that the templates import: Attention, Task and CachedAttention."""

app = typer.Typer(help="Write a file to start from.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Write a file to start from."""


@app.command("variant", cls=Command)
def variant(
    name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")],
    family: Annotated[
        Family, typer.Option(help=f"Family of the mechanism: {', '.join(Family)}.")
    ] = Family.SOFTMAX,
    wrap: Annotated[
        bool,
        typer.Option("--wrap", help="Wrap an existing nn.Module that has its own projections."),
    ] = False,
    file: File = None,
) -> None:
    """Write a complete variant to start from."""
    target = _target("variant", name, discover_variants(), file)
    template = "variant_wrap.py.template" if wrap else "variant.py.template"
    words = {"NAME": name, "CLASS": _class_name(name, "Attention"), "FAMILY": family}
    _write(target, template, words)
    _say_how(
        target,
        f"cab check {target}",
        f"cab run --include {target} --variant {name} --profile smoke",
    )


@app.command("task", cls=Command)
def task(
    name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")],
    file: File = None,
) -> None:
    """Write a complete task to start from."""
    target = _target("task", name, discover_tasks(), file)
    _write(target, "task.py.template", {"NAME": name, "CLASS": _class_name(name, "Task")})
    _say_how(target, f"cab run --include {target} --task {name} --variant softmax --profile smoke")


def _target(kind: str, name: str, registry: Registry[Any], file: Path | None) -> Path:
    """Where the file goes.

    Raises:
        CabError: the name is none or is taken, or there is a file already.
    """
    if not NAME.fullmatch(name) or name[0].isdigit():  # the class is named after it
        raise CabError(
            f"{name!r} is not a valid name of a {kind}. Use lower-case letters, digits and single "
            f"hyphens, beginning with a letter."
        )
    if name in registry.entries:
        raise CabError(
            f"The {kind} {name!r} exists already, in {registry.entry(name).path}. Choose another "
            f"name."
        )
    target = file or Path(name.replace("-", "_") + ".py")
    if target.exists():
        raise CabError(f"{target} exists and was not changed. Choose another file with --file.")
    return target


def _class_name(name: str, ending: str) -> str:
    """`my-attention` is MyAttention, and so is `my`; what the file imports is not taken."""
    words = "".join(word.capitalize() for word in name.split("-"))
    if words.lower().endswith(ending.lower()):
        words = words[: -len(ending)]
    return f"{words}{ending}" if words not in TAKEN else f"Own{words}{ending}"


def _write(target: Path, template: str, words: Mapping[str, str]) -> None:
    text = resources.files("cab.commands").joinpath("templates", template).read_text("utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    write_file(target, text, "The file")


def _say_how(target: Path, *commands: str) -> None:
    output.say(f"Wrote {target}. Try it with:")
    for command in commands:
        output.out.print(f"  {command}", markup=False, soft_wrap=True)
