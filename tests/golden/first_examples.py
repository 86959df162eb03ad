"""What is written down of a task's first examples, so that a change of them shows.

Whole numbers are the same everywhere, and one hash holds them. Sounds are computed in float32, and
the last bits of a sine, a Fourier transform or a logarithm differ between kinds of processors: of
a float tensor, two projections on random signs are written down, which rounding moves by less
than `ROUNDING` of the tensor's norm and any change of the data by more; and, for each kind of
processor on which they were written, a hash of the bits.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from cab.running.environment import cpu_model
from cab.running.facts import fingerprint
from cab.seeding import generator
from cab.task import Task

ROUNDING = 5e-5
"""Of a tensor's norm. Between a Xeon's vector instructions and none, tensors of sounds differ by
up to 6e-6 of it; one value of 660,000 that is off by a standard deviation is 1e-3 of it."""


@dataclass(frozen=True)
class Sketch:
    """A float tensor: its root of summed squares, and its sums under two draws of signs."""

    shape: list[int]
    norm: float
    sums: list[float]

    def agrees(self, other: "Sketch") -> bool:
        """Whether the two are of one tensor, rounded in two ways."""
        moved = [abs(mine - its) for mine, its in zip(self.sums, other.sums, strict=True)]
        return (
            self.shape == other.shape
            and abs(self.norm - other.norm) <= ROUNDING * other.norm
            and max(moved) <= ROUNDING * other.norm
        )


@dataclass(frozen=True)
class Golden:
    """The first 100 test and the first 100 training examples of a task."""

    whole: str
    floats: dict[str, Sketch] = field(default_factory=dict)
    bits: dict[str, str] = field(default_factory=dict)

    def agrees(self, other: "Golden") -> bool:
        """Whether the two are of the same examples, rounded in two ways."""
        return (
            self.whole == other.whole
            and self.floats.keys() == other.floats.keys()
            and all(self.floats[name].agrees(other.floats[name]) for name in self.floats)
        )

    def bits_on(self, kind: str) -> str | None:
        """The hash for a kind of processor, or for its maker's where the kind was not noted."""
        return self.bits.get(kind, self.bits.get(kind.split()[0]))

    def as_dict(self) -> dict[str, Any]:
        """The golden file's entry."""
        return {name: part for name, part in asdict(self).items() if part}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> "Golden":
        """Read the golden file's entry."""
        floats = {name: Sketch(**sketch) for name, sketch in entry.get("floats", {}).items()}
        return cls(entry["whole"], floats, entry.get("bits", {}))


def golden(task: Task) -> Golden:
    """Draw the first examples of a task, and take down what of them is kept."""
    drawn = {
        split: task.draw(split, 100, generator("golden", split)) for split in ("test", "train")
    }
    whole = [
        {name: part for name, part in batch.items() if not part.is_floating_point()}
        for batch in drawn.values()
    ]
    floats = {
        f"{split} {name}": sketch(part)
        for split, batch in drawn.items()
        for name, part in batch.items()
        if part.is_floating_point()
    }
    bits = {processor(): fingerprint(*drawn.values())} if floats else {}
    return Golden(fingerprint(*whole), floats, bits)


def sketch(tensor: Tensor) -> Sketch:
    """Take down a float tensor up to rounding."""
    values = tensor.double().flatten()
    signs = torch.randint(0, 2, (2, len(values)), generator=generator("signs")) * 2 - 1
    norm, *sums = (float(f"{x:.9g}") for x in (values.norm(), *(signs * values).sum(dim=1)))
    return Sketch(list(tensor.shape), norm, sums)


def processor() -> str:
    """The kind of this machine's processor: its maker and the vector instructions in use."""
    maker = next((name for name in ("AMD", "Intel") if name in cpu_model()), cpu_model())
    return f"{maker} {torch.backends.cpu.get_cpu_capability()}"
