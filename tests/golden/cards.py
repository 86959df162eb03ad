"""Write into the cards of tasks what their certificates say: python tests/golden/cards.py TASK ...

Run it after `cab certify`; without names it looks at every task that has a certificate.
"""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

from cab.records.certificates import read_certificate
from cab.registry import discover_tasks

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "results" / "certificates"


def of_certificate(content: Any, margin: float) -> dict[str, Any]:
    """Return the entry of a card: the margin that it asks for, the means and the floors."""
    found = {**content["values"], **content["shortcuts"]}
    return {
        "margin": margin,
        "seeds": content["seeds"],
        "measured": {name: round(sum(each) / len(each), 3) for name, each in found.items()},
        "floors": tuple(round(floor, 4) for floor in content["floors"]),
    }


def write(path: Path, certificates: dict[str, dict[str, Any]]) -> None:
    """Replace the certificates in the decorator of a task's file."""
    text = path.read_text(encoding="utf-8")
    (value,) = (
        keyword.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_task")
        for keyword in node.keywords
        if keyword.arg == "certificate"
    )
    lines = text.splitlines(keepends=True)
    before = "".join(lines[: value.lineno - 1]) + lines[value.lineno - 1][: value.col_offset]
    end = value.end_lineno, value.end_col_offset
    assert end[0] is not None
    after = lines[end[0] - 1][end[1] :] + "".join(lines[end[0] :])
    path.write_text(before + repr(certificates) + after, encoding="utf-8")


def main(names: list[str]) -> None:
    """Update the cards of some tasks, or of all."""
    tasks = discover_tasks()
    changed = []
    for name in names or tasks.names():
        entry = tasks.entry(name)
        found, planned = {}, {}
        for profile, own in entry.card.certificate.items():
            file = FOLDER / profile / f"{name}.json"
            content = read_certificate(file) if file.exists() else None
            if (
                content is not None
                and content["version"] == entry.card.version
                and content["floors"]
            ):
                found[profile] = of_certificate(content, own.margin)
            elif not own.measured:  # the margin stands before anything is measured
                planned[profile] = {"margin": own.margin, "seeds": own.seeds}
        if found:
            found |= planned
            write(entry.path, found)
            changed.append(entry.path)
    if changed:
        subprocess.run([sys.executable, "-m", "ruff", "format", *changed], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
