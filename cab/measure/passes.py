"""The timed calls: each sample is prepared first, on new inputs, then the pass alone runs."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cab.measure.built import Built, Inputs, normal, refill

INPUT_SETS = 3
"""Samples rotate over this many tensors of each input, and fill them with new numbers."""

Call = Callable[[], Any]


class Passage:
    """A pass of a mechanism, on new numbers in every sample, so that no stored answer fits.

    `call(sample)` draws the numbers, prepares the sample and returns the timed function; equal
    samples have equal numbers, also those of other mechanisms with the same `salt`.
    `autograd.grad` computes gradients of inputs and parameters from a random output gradient,
    which is new in every sample too: nothing accumulates, and every backward pass has its own
    graph, which is built before the clock starts.

    Args:
        mechanism: what is timed.
        salt: makes the numbers unpredictable for the mechanism.
        sets: how many tensors of each input there are.

    Attributes:
        drawing: seconds that drawing numbers has taken.
    """

    def __init__(self, mechanism: Built, salt: object = 0, sets: int = INPUT_SETS) -> None:
        self.mechanism, self.name, self._salt = mechanism, mechanism.point.passage, salt
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
        self.drawing = 0.0
        self._filled = 0
        self._above: list[Tensor] = []

    def wanted(self, given: Inputs) -> Sequence[Tensor]:
        """Return the tensors that are differentiated."""
        return [*given.values(), *self.mechanism.parameters()]

    def numbers(self, sample: object) -> dict[str, Tensor]:
        """Draw the inputs of a sample anew."""
        return self.mechanism.draw((self._salt, "sample", sample))

    def forward(self, sample: object) -> Tensor:
        """Compute the output of a sample without recording a graph."""
        with torch.no_grad():
            return self.mechanism.forward(self._fill(sample))

    def call(self, sample: object) -> Call:
        """Prepare a sample."""
        given = self._fill(sample)
        if not self.differentiates:

            def without_graph() -> Any:
                with torch.no_grad():
                    return self._run(given)

            return without_graph
        if self.name == "fwd":
            return lambda: self._run(given)
        wanted = self.wanted(given)
        if self.name == "bwd":
            out = self._run(given)
            above = self._from_above(sample)
            return lambda: torch.autograd.grad(out, wanted, above, allow_unused=True)
        above = self._from_above(sample)
        return lambda: torch.autograd.grad(self._run(given), wanted, above, allow_unused=True)

    def _fill(self, sample: object) -> Inputs:
        """Fill the next tensors with the numbers of a sample."""
        started = time.perf_counter()
        self._filled += 1
        given = self.inputs[self._filled % len(self.inputs)]
        refill(given, self.numbers(sample))
        self.drawing += time.perf_counter() - started
        return given

    def _from_above(self, sample: object) -> Tensor:
        """Draw the output's gradient of a sample, which a forward pass cannot know before."""
        if not self._above:
            with torch.no_grad():  # on other numbers than the sample's
                out = self._run(self.inputs[(self._filled + 1) % len(self.inputs)])
            self._above = [torch.empty_like(out) for _ in self.inputs]
        started = time.perf_counter()
        above = self._above[self._filled % len(self._above)]
        drawn = normal(above.shape, above.device, above.dtype, self._salt, "above", sample)
        above.copy_(drawn)
        self.drawing += time.perf_counter() - started
        return above
