"""Reading clouds of points from PCD files (Point Cloud Library, version 0.7)."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cab.errors import CabError

KINDS = {"F": "f", "U": "u", "I": "i"}


def read_points(path: Path) -> Tensor:
    """Return the points of a file, ascii or binary, as (N, 3) in float32.

    Raises:
        CabError: the file is compressed or has no x, y and z.
    """
    content = path.read_bytes()
    head: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in head:
        end = content.find(b"\n", start)
        if end < 0:
            raise CabError(f"{path} is not a PCD file: its header has no line DATA.")
        name, *values = content[start:end].decode("ascii", "replace").split() or ["#"]
        head[name], start = values, end + 1
    fields = head.get("FIELDS", [])
    if not {"x", "y", "z"} <= set(fields):
        raise CabError(f"{path} has the fields {' '.join(fields)}, but needs x, y and z.")
    if head["DATA"] == ["ascii"]:
        table = np.loadtxt(content[start:].decode("ascii").splitlines(), ndmin=2)
        columns = [table[:, fields.index(axis)] for axis in "xyz"]
    elif head["DATA"] == ["binary"]:
        counts = head.get("COUNT", ["1"] * len(fields))
        types = [
            (f"{at}_{field}", f"<{KINDS[kind]}{size}", (int(count),))
            for at, (field, kind, size, count) in enumerate(
                zip(fields, head["TYPE"], head["SIZE"], counts, strict=True)
            )
        ]
        records = np.frombuffer(content, types, count=int(head["POINTS"][0]), offset=start)
        columns = [records[f"{fields.index(axis)}_{axis}"][:, 0] for axis in "xyz"]
    else:
        raise CabError(
            f"{path} is {' '.join(head['DATA'])}; only ascii and binary are read. Write it anew, "
            "for instance with Open3D."
        )
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))
