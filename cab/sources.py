"""The source hash of a variant: its file and every file of CAB's variants and kernels it uses."""

import ast
import hashlib
import importlib.util
from pathlib import Path

FOLLOWED = ("cab.variants", "cab.kernels")
"""Packages whose files belong to a mechanism; the harness itself is covered by its version."""


def source_hash(path: Path) -> str:
    """Hash the code that defines a mechanism, so that a changed mechanism is a new entry.

    Comments, docstrings and layout do not count: the parsed code is hashed.
    """
    found: dict[str, str] = {}
    _collect(path, "", found)
    text = "\n".join(found[name] for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()


def _collect(path: Path, name: str, found: dict[str, str]) -> None:
    if name in found:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found[name] = ast.dump(_without_docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module.startswith(FOLLOWED) and (origin := _origin(module)):
                _collect(origin, module, found)


def _origin(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # `from module import name` where name is no module
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:]
    return tree
