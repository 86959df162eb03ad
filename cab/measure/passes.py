"""The timed calls: each sample is prepared first, then the pass alone runs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cab.measure.built import Built, Inputs

INPUT_SETS = 3
"""Samples rotate over this many inputs, so that cached outputs of earlier calls are found."""

Call = Callable[[], Any]


class Passage:
    """A pass of a mechanism over a few sets of inputs.

    `call(i)` prepares sample i and returns the timed function. `autograd.grad` computes gradients
    of inputs and parameters from a random output gradient: nothing accumulates, and every backward
    pass has its own graph, which is built before the clock starts.
    """

    def __init__(self, mechanism: Built, sets: int = INPUT_SETS) -> None:
        self.mechanism, self.name = mechanism, mechanism.point.passage
        self.state_bytes: int | None = None
        self.inputs = [mechanism.draw(("set", i)) for i in range(sets)]
        self._run: Callable[[Inputs], Any] = mechanism.forward
        if self.name == "decode":
            self._run, self.state_bytes = mechanism.decoding()
        elif self.name == "prefill":
            self._run = mechanism.prefilling()
        self.differentiates = self.name in ("fwd", "bwd", "fwd_bwd")
        if self.differentiates:
            for given in self.inputs:
                for tensor in given.values():
                    tensor.requires_grad_()
        self._above: Tensor | None = None

    def wanted(self, given: Inputs) -> Sequence[Tensor]:
        """Return the tensors that are differentiated."""
        return [*given.values(), *self.mechanism.parameters()]

    def forward(self, sample: int) -> Tensor:
        """Compute the output of a sample without recording a graph."""
        with torch.no_grad():
            return self.mechanism.forward(self.inputs[sample % len(self.inputs)])

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
