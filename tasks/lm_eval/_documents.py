"""Documents of the task files: articles of WikiText-2, and questions that are generated."""

import re
import string
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from cab.data import data_directory, load_text, require
from cab.seeding import generator

TEXT = "wikitext-2"
HEADING = re.compile(r"^ = [^=\n]+ = \n", re.MULTILINE)


def articles(data_dir: str | None = None, **_: Any) -> dict[str, Dataset]:
    """Return the test articles of WikiText-2, each with its heading, as they stand in the file.

    Raises:
        CabError: the file is not here.
    """
    directory = data_directory(None if data_dir is None else Path(data_dir))
    require([TEXT], directory)
    text = load_text(TEXT, directory).decode()
    starts = [match.start() for match in HEADING.finditer(text)]
    cuts = zip(starts, [*starts[1:], len(text)], strict=True)
    return {"test": Dataset.from_list([{"page": text[start:stop]} for start, stop in cuts])}


def recall(pairs: int = 6, count: int = 200, **_: Any) -> dict[str, Dataset]:
    """Return questions such as `k3 d9 x0` and, on a line of its own, `d`; the answer is 9.

    Each has so many different letters, each with a digit, and asks for the digit of one.
    """
    draw = generator("lm-eval", "recall", pairs, count)
    rows = []
    for _ in range(count):
        letters = torch.randperm(26, generator=draw)[:pairs].tolist()
        digits = torch.randint(10, (pairs,), generator=draw).tolist()
        asked = int(torch.randint(pairs, (), generator=draw))
        names = [string.ascii_lowercase[letter] for letter in letters]
        told = " ".join(f"{name}{digit}" for name, digit in zip(names, digits, strict=True))
        rows.append({"question": f"{told}\n{names[asked]}", "answer": digits[asked]})
    return {"test": Dataset.from_list(rows)}
