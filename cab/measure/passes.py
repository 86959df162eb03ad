"""The calls that are timed: each sample is prepared, then only the pass itself runs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cab.measure.subjects import Built, Inputs

INPUT_SETS = 3
"""Samples rotate over this many inputs: an answer kept from an earlier call is then wrong."""

Call = Callable[[], Any]


class Passage:
    """A subject's pass over a few input sets.

    `call(i)` prepares sample i and returns what is to be timed. Gradients are taken of inputs and
    parameters with respect to a random one from above, by `autograd.grad`: nothing accumulates,
    and every backward pass has a graph of its own, built before the clock starts.
    """

    def __init__(self, subject: Built, sets: int = INPUT_SETS) -> None:
        self.subject, self.name = subject, subject.point.passage
        self.state_bytes: int | None = None
        self.inputs = [subject.draw(("set", i)) for i in range(sets)]
        self._run: Callable[[Inputs], Any] = subject.forward
        if self.name == "decode":
            self._run, self.state_bytes = subject.decoding()
        elif self.name == "prefill":
            self._run = subject.prefilling()
        self.differentiates = self.name in ("fwd", "bwd", "fwd_bwd")
        if self.differentiates:
            for given in self.inputs:
                for tensor in given.values():
                    tensor.requires_grad_()
        self._above: Tensor | None = None

    def wanted(self, given: Inputs) -> Sequence[Tensor]:
        """What is differentiated."""
        return [*given.values(), *self.subject.parameters()]

    def forward(self, sample: int) -> Tensor:
        """Answer a sample's inputs without recording a graph."""
        with torch.no_grad():
            return self.subject.forward(self.inputs[sample % len(self.inputs)])

    def call(self, sample: int) -> Call:
        """Prepare a sample."""
        given = self.inputs[sample % len(self.inputs)]
        if not self.differentiates:

            def without_graph() -> Any:
                with torch.no_grad():
                    return self._run(given)

            return without_graph
        if self.name == "fwd":
            return lambda: self._run(given)
        above = self._from_above(given)
        wanted = self.wanted(given)
        if self.name == "bwd":
            out = self._run(given)
            return lambda: torch.autograd.grad(out, wanted, above, allow_unused=True)
        return lambda: torch.autograd.grad(self._run(given), wanted, above, allow_unused=True)

    def _from_above(self, given: Inputs) -> Tensor:
        if self._above is None:
            with torch.no_grad():
                shape = self._run(given).shape
            first = next(iter(given.values()))
            above = torch.randn(shape, generator=torch.Generator().manual_seed(1))
            self._above = above.to(first.device, first.dtype)
        return self._above
