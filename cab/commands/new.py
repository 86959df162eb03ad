"""`cab new`: begin a file of your own."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from cab.commands import output
from cab.errors import CabError
from cab.registry import discover_variants
from cab.taxonomy import NAME, Family

app = typer.Typer(help="Write a file to start from.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Write a file to start from."""


@app.command("variant")
def variant(
    name: Annotated[str, typer.Argument(help="Lower-case words joined by hyphens.")],
    family: Annotated[
        Family, typer.Option(help="The family its mechanism belongs to.")
    ] = Family.SOFTMAX,
    file: Annotated[Path | None, typer.Option("--file", help="Where to write it.")] = None,
) -> None:
    """Write a working variant to change, and say how to run it."""
    if not NAME.fullmatch(name) or name[0].isdigit():  # the class is named after it
        raise CabError(
            f"{name!r} is no variant name: use lower-case letters, digits and single hyphens."
        )
    registry = discover_variants()
    if name in registry.entries:
        raise CabError(f"There is a variant {name!r} already, in {registry.entry(name).path}.")
    target = file or Path(name.replace("-", "_") + ".py")
    if target.exists():
        raise CabError(f"{target} exists; choose another --file. It was left as it is.")
    template = resources.files("cab.commands").joinpath("variant.py.template").read_text("utf-8")
    class_name = "".join(word.capitalize() for word in name.split("-")) + "Attention"
    text = template.replace("@NAME@", name).replace("@CLASS@", class_name)
    try:
        target.write_text(text.replace("@FAMILY@", family), encoding="utf-8")
    except OSError as error:
        raise CabError(f"{target} cannot be written: {error}.") from None
    output.say(f"Wrote {target}. It runs as it is:")
    output.out.print(
        f"  cab run --include {target} --variant {name} --profile smoke",
        markup=False,
        soft_wrap=True,
    )
