"""Formulas on cards, such as `2 M E`, `N^2 d` and `abs(t - s) < window`.

A space between two factors is a product and ^ is a power, as on paper. Otherwise the syntax is
that of Python's arithmetic, comparisons, `and`, `or` and `not`, with the functions of FUNCTIONS.
Anything else is refused.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import CodeType
from typing import Any

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "log": lambda x: math.log2(max(x, 2)),
    "log2": math.log2,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}
SYMBOLS = (
    *("N", "M", "H", "E", "d", "cross", "causal", "t", "s"),
    *("row_t", "column_t", "row_s", "column_s", "rows", "columns"),
)
"""What formulas call the sizes, the positions and the pattern; no Config field has these names."""
_WORDS = ("and", "or", "not", "in")
_ALLOWED = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)


def evaluate(formula: str, names: Mapping[str, Any]) -> Any:
    """Return the value of a formula.

    Raises:
        ValueError: the formula is not an arithmetic expression, or uses an unknown name.
    """
    try:
        return eval(_compile(formula), {"__builtins__": {}, **FUNCTIONS}, dict(names))
    except NameError as error:
        known = ", ".join(sorted(names))
        raise ValueError(f"The formula {formula!r} fails: {error}. It may use {known}.") from None
    except (TypeError, ZeroDivisionError) as error:
        raise ValueError(f"The formula {formula!r} cannot be evaluated: {error}.") from None


@lru_cache(maxsize=256)
def _compile(formula: str) -> CodeType:
    text = _with_products(formula.replace("^", "**"))
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        raise ValueError(f"The formula {formula!r} is not an arithmetic expression.") from None
    for node in ast.walk(tree):
        known = isinstance(node, _ALLOWED)
        if isinstance(node, ast.Constant):
            known = isinstance(node.value, int | float)
        elif isinstance(node, ast.Call):
            known = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        if not known:
            raise ValueError(
                f"The formula {formula!r} contains {ast.unparse(node)!r}, which is not allowed."
            )
    return compile(tree, "<card>", "eval")


def _with_products(text: str) -> str:
    """Put * between factors that stand beside each other."""
    tokens = re.findall(r"\d+\.?\d*|\w+|\*\*|//|<=|>=|==|!=|\S", text)
    out: list[str] = []
    for token in tokens:
        if out and _ends_factor(out[-1]) and _starts_factor(token):
            called = token == "(" and out[-1] in FUNCTIONS
            if not called:
                out.append("*")
        out.append(token)
    return " ".join(out)


def _ends_factor(token: str) -> bool:
    return token == ")" or (re.fullmatch(r"[\w.]+", token) is not None and token not in _WORDS)


def _starts_factor(token: str) -> bool:
    return token == "(" or (re.fullmatch(r"[\w.]+", token) is not None and token not in _WORDS)
