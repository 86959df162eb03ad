"""Records with anything wrong in them, and what no output may hold whatever was read."""

import copy
import csv
import io
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from support import REPOSITORY

from cab.records.fields import LARGEST, LARGEST_INT, LARGEST_SEED
from cab.records.results import read_file
from cab.records.text import is_safe

MARKUP = '<img src=x onerror="hacked()">'
TEXTS = (
    "", " ", "x" * 150, "x" * 1_000, "x" * 100_000, "\x1b]0;owned\x07", "\x1b[2J", "a\x00b",
    "\x7f", "\x9b31m", "\u202egnp.exe", "\u2066x", "\ufeff", "\ud800", "a\nb", "a\tb", "\r",
    "\u2028", "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", '"=1', "\uff1d1", MARKUP,
    "</script>", "javascript:alert(1)", r"\input{/etc/passwd}", r"\write18{id}", "$\\frac{$",
    "a & b % c # d _ e { } ~ ^", "[red]x[/]", "[/]", ":smile:", "{{ 7 * 7 }}", "{% raw %}", "..",
    "../../x", "/", "|", "`id`", "\N{SLIGHTLY SMILING FACE}" * 40, "e\u0301", "none", "softmax",
    "linear", "mqar", "nan", "1e308", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00+23:59",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 0.0, -0.0, 0.5, 5e-324, 1e-300, 1e-15, -1e-15, 1e15, LARGEST, -LARGEST, 1e31,
    1e308, -1e308, LARGEST_SEED, LARGEST_SEED + 1, 10**6, 10**6 + 1, LARGEST_INT, LARGEST_INT + 1,
    -LARGEST_INT, 2**70, 10**400, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip
OTHERS = (None, True, False, [], {}, [[]], {"": {}}, [1, "x", None], {"a": [1, {"b": 2}]})

VALUES = st.sampled_from(TEXTS) | st.sampled_from(NUMBERS) | st.sampled_from(OTHERS)

FILES: dict[str, bytes] = {
    "nothing": b"",
    "a line's end": b"\n",
    "deep": b"[" * 200_000,
    "deep mappings": b'{"a":' * 100_000,
    "binary": bytes(range(256)) * 8,
    "UTF-16": "{}".encode("utf-16"),
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "null": b"null",
    "a number": b"1" * 5_000,
    "a list": b"[1, 2]",
    "NUL": b"\x00" * 1_000,
    "surrogates": b'{"\\ud800": "\\udfff"}',
}
"""Contents that are no record."""


@cache
def real_records() -> tuple[str, ...]:
    """Published records of softmax, none and others, as JSON, with every kind of field filled."""
    found = []
    for variant in ("softmax", "none", "linear", "mean"):
        records = read_file(REPOSITORY / "results" / "quick" / f"{variant}.jsonl")
        found += [one for one in records if one.task.name in ("mqar", "mirror", "byte-lm")]
    filled = []
    for record in found:
        document = json.loads(record.to_json())
        value = {"value": 0.5, "standard_error": 0.01, "n": 10}
        if record.status == "ok":
            document["metrics"]["lengths"] = [
                {
                    "factor": factor,
                    "length": int(64 * factor),
                    "estimate": value,
                    "positions": [
                        {"first": 0, "last": 15, "nats": 1.5, "n": 10},
                        {"first": 16, "last": 31, "nats": 1.2, "n": 10},
                    ],
                }
                for factor in (0.5, 1.0, 4.0)
            ] + [{"factor": 8.0, "length": 512, "status": "oom", "message": "none left"}]
            document["shortcuts"] = {"last value": value}
            document["evaluations"] = [
                {
                    "harness": "lm-eval",
                    "harness_version": "0.4",
                    "task": "arc",
                    "task_version": "1",
                    "metric": "acc",
                    "higher_is_better": True,
                    "value": 0.5,
                    "standard_error": 0.1,
                    "n": 9,
                    "settings": {"few_shot": 0},
                }
            ]
        filled.append(json.dumps(document))
    return tuple(filled)


def places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a document."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in inside:
        yield (*above, name)
        if isinstance(value, dict | list):
            yield from places(value, (*above, name))


def mutate(document: Any, draw: Any) -> None:
    """Change one thing in a document: a value, a name, how many there are, what is there."""
    path = draw(st.sampled_from(list(places(document))))
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    name = path[-1]
    how = draw(
        st.sampled_from(("value", "value", "value", "like", "like", "drop", "more", "name"))
    )
    if how == "value":
        holder[name] = draw(VALUES)
    elif how == "like":
        old = holder[name]
        like: Any = OTHERS
        if isinstance(old, str):
            like = TEXTS
        elif isinstance(old, int | float) and not isinstance(old, bool):
            like = NUMBERS
        holder[name] = draw(st.sampled_from(like))
    elif how == "drop":
        del holder[name]
    elif isinstance(holder, list):
        holder.extend(
            copy.deepcopy(holder[name]) for _ in range(draw(st.sampled_from((1, 3, 300))))
        )
    else:
        holder[draw(st.sampled_from(TEXTS))] = copy.deepcopy(holder[name])
        if how == "name":
            holder.pop(name)


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    """A real record with one to three things changed."""
    document: dict[str, Any] = json.loads(draw(st.sampled_from(real_records())))
    for _ in range(draw(st.integers(1, 3))):
        if document:
            mutate(document, draw)
    return document


def text_of(document: Any) -> str:
    """A document as a file holds it, surrogates and NaN among it."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def no_file(path: Path, kind: str) -> None:
    """Put something in a file's place."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path.with_name("nowhere"))


NO_FILES = ("folder", "pipe", "device", "dangling link")


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail what does not end."""

    def late(number: int, frame: Any) -> None:
        raise AssertionError(f"it did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def assert_safe(text: str) -> None:
    """No control character stands in an output, but newlines and tabs."""
    assert is_safe(text), repr(
        re.sub(r"(?s).*?(.{0,60}[\x00-\x08\x0b-\x1f].{0,60}).*", r"\1", text)
    )


def assert_csv_is_plain(text: str) -> None:
    """No cell is a formula."""
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            if re.match(r"[\s\"]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]", cell):
                float(cell)


_COMMANDS = {
    *("begin", "end", "toprule", "midrule", "bottomrule", "emph"),
    *("textbackslash", "textasciitilde", "textasciicircum"),
    *(",", "\\", *"&%$#_{}"),
}


def assert_latex_is_plain(text: str) -> None:
    """No command but those of the table itself and of characters."""
    found = re.findall(r"\\([A-Za-z]+|.)", text, re.DOTALL)
    assert set(found) <= _COMMANDS
    lines = text.splitlines()
    assert [line for line in lines if "\\begin" in line or "\\end" in line] == [
        lines[0],
        lines[-1],
    ]
    plain = re.sub(r"\\([A-Za-z]+|.)", "", "".join(lines[1:-1]))
    assert not re.search(r"[$#_%~^]", plain)


def assert_page_is_plain(text: str) -> None:
    """Nothing of a record became markup."""
    assert "<img" not in text
