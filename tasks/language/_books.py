"""Text in the byte pairs of GPT-2, and windows of the books of PG-19."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cab.data import HubSet, get_data_set, load_part, locate
from cab.task import Split, choose

VOCABULARY = 50_257
END = VOCABULARY - 1
"""The token that ends a text."""
PARTS: dict[Split, str] = {"train": "train", "valid": "validation", "test": "test"}


@cache
def tokeniser(directory: Path) -> Any:
    """Read GPT-2's byte pairs, which RoBERTa and BART use too, into a tiktoken encoding."""
    import tiktoken
    from tiktoken_ext.openai_public import r50k_pat_str

    (path,) = locate(get_data_set("gpt2-bpe"), directory)
    lines = (line.split() for line in path.read_bytes().splitlines())
    ranks = {base64.b64decode(pair): int(rank) for pair, rank in lines}
    return tiktoken.Encoding(
        "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": END}
    )


def tokenised(data_set: str | HubSet, directory: Path, part: str, columns: dict[str, int]) -> Any:
    """Return a part's columns as lists of tokens, each cut to so many; 0 cuts nothing.

    The length of each list is in a column with the suffix _length.
    `datasets` caches the result, so that a set is tokenised once per machine.
    """
    rows = load_part(data_set, directory, part)
    source = str(directory)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        encoding = tokeniser(Path(source))
        encoded: dict[str, list[Any]] = {}
        for name, longest in columns.items():
            each = encoding.encode_ordinary_batch(batch[name], num_threads=4)
            cut = [tokens[:longest] if longest else tokens for tokens in each]
            encoded[name] = [np.array(tokens, dtype=np.int32) for tokens in cut]
            encoded[f"{name}_length"] = [len(tokens) for tokens in cut]
        return encoded

    return rows.map(
        encode, batched=True, batch_size=16, remove_columns=rows.column_names
    ).with_format("numpy")


class Windows:
    """Consecutive windows of a set's column `text`, each within one book.

    The rest of a book after its last window is left out, and so are shorter books.
    """

    def __init__(self, data_set: str | HubSet, directory: Path, part: str, length: int) -> None:
        self.books = tokenised(data_set, directory, part, {"text": 0})
        lengths = self.books.select_columns(["text_length"])[:]["text_length"]
        counts = torch.from_numpy(lengths) // length
        self.ends, self.length = counts.cumsum(dim=0), length

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, index: Tensor) -> Tensor:
        """Return the windows numbered `index` (B,): (B, length)."""
        book = torch.searchsorted(self.ends, index, right=True)
        first = self.ends.new_zeros(len(self.ends))
        first[1:] = self.ends[:-1]
        starts = (index - first[book]) * self.length
        cut = [
            torch.from_numpy(self.books[one]["text"][start : start + self.length].copy())
            for one, start in zip(book.tolist(), starts.tolist(), strict=True)
        ]
        return torch.stack(cut).long()

    def draw(self, split: Split, count: int, generator: torch.Generator) -> Tensor:
        """Draw windows to train on; to validate and to test they are evenly spaced."""
        index = choose(count, len(self), generator)
        if split != "train":
            index = torch.linspace(0, len(self) - 1, count).long()
        return self.read(index)
