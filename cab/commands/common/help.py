"""How `--help` names what an option or an argument takes: TEXT, N, FILE, [a|b], VARIANT."""

import inspect
import types
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from typer.core import TyperCommand

OF_TYPES: dict[type, str] = {int: "N", float: "NUMBER", Path: "FILE"}
OF_NAMES = {
    **dict.fromkeys(("set_", "slurm"), "KEY=VALUE"),
    **dict.fromkeys(
        ("store", "data_dir", "results", "out", "checkpoints", "plots", "task_files"), "FOLDER"
    ),
    "family": "FAMILY",
    "hybrid": "K:1",
    "shard": "I/N",
}
"""What some options take, more precisely than their type says it."""


class Command(TyperCommand):
    """A command whose help shows the words of `metavar`, whatever the library would show.

    Options that name their own metavar keep it.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        types_of = get_type_hints(inspect.unwrap(self.callback)) if self.callback else {}
        for param in self.params:
            takes = types_of.get(str(param.name), bool)
            if param.param_type_name == "option" and param.metavar is None and takes is not bool:
                param.metavar = OF_NAMES.get(str(param.name)) or metavar(takes)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name on the line of its usage."""
        return [str(self.options_metavar), *map(_argument, self._of_kind("argument", ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options."""
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            rows = []
            for param in self._of_kind(kind, ctx):
                if (record := param.get_help_record(ctx)) is not None:
                    rows.append((_argument(param) if kind == "argument" else record[0], record[1]))
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _of_kind(self, kind: str, ctx: Any) -> list[Any]:
        return [param for param in self.get_params(ctx) if param.param_type_name == kind]


def metavar(takes: Any) -> str:
    """Return the word for a type: `int | None` is N, a list of choices [a|b]."""
    if get_origin(takes) in (Union, types.UnionType):
        (takes,) = (one for one in get_args(takes) if one is not type(None))
    if get_origin(takes) is list:
        return metavar(get_args(takes)[0])
    if get_origin(takes) is Literal:
        return f"[{'|'.join(get_args(takes))}]"
    if isinstance(takes, type) and issubclass(takes, Enum):
        return f"[{'|'.join(one.value for one in takes)}]"
    return OF_TYPES.get(takes, "TEXT")


def _argument(param: Any) -> str:
    name = str(param.name).upper() + ("" if param.nargs == 1 else "...")
    return name if param.required else f"[{name}]"
