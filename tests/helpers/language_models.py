"""A small language model over bytes, in the hands of lm-evaluation-harness."""

from pathlib import Path
from types import SimpleNamespace

import torch
from cli_support import cells_of

from cab.language_models.lm_harness import ByteTokenizer, DecoderLM, Tokenizer
from cab.registry import discover_tasks
from cab.running.trained import TrainedCell, build_model

TASKS = discover_tasks()
TEXT = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(150)) + "é\n"
WINDOW = 32  # of byte-lm in smoke


class Bytes:
    """A stand-in for the text of byte-lm, so that no data is needed."""

    def __init__(self, cell):
        text = torch.tensor(list((TEXT * 4).encode()), dtype=torch.uint8)
        self.task = TASKS.load("byte-lm")(cell.recipe)
        self.task.__dict__["_text"] = {"train": text, "valid": text, "test": text}


def language_model(
    variant: str = "linear",
    include: Path | None = None,
    tokenizer: Tokenizer | None = None,
    **options,
) -> DecoderLM:
    files = [] if include is None else [include]
    sizes = {"model.short_convolution": "3"}
    (cell,) = cells_of([variant], tasks=("byte-lm",), options=sizes, include=files)
    task = Bytes(cell).task
    model = build_model(cell, task)
    with torch.no_grad():  # an untrained model says one thing only
        model.embedding.weight.mul_(40)
    return DecoderLM(TrainedCell(cell, task, model), tokenizer or ByteTokenizer(), **options)


def asked(*arguments):
    return SimpleNamespace(args=arguments)


def log_likelihood(model, tokens: list[int], scored: int) -> float:
    """The last `scored` of some tokens, by a loop."""
    with torch.no_grad():
        logits = model(torch.tensor(tokens[:-1])[None])[0].double()
    rows = logits.log_softmax(dim=-1)
    return sum(rows[i - 1, tokens[i]].item() for i in range(len(tokens) - scored, len(tokens)))
