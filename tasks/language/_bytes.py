"""Texts as rows of bytes."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

VOCABULARY = 256
"""Padding is 0 and a byte one more than itself: 255 and 254 occur in no UTF-8."""


def byte_rows(texts: Iterable[str], length: int) -> Tensor:
    """Return the first `length` UTF-8 bytes of each text, padded on the right: (K, length)."""
    rows = []
    for text in texts:
        # A character is a byte or more, so no more of them than `length` can be needed.
        content = text[:length].encode("utf-8", errors="replace")[:length]
        row = np.zeros(length, dtype=np.uint8)
        row[: len(content)] = np.frombuffer(content, dtype=np.uint8) + 1
        rows.append(row)
    return torch.from_numpy(np.stack(rows))
