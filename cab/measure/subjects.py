"""Subjects, built: something with named inputs and a forward call, whatever it is made of."""

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cab.attention import Attention, build_attention
from cab.errors import Unsupported
from cab.measure.flops import Work, operator_work, variant_work
from cab.measure.operators import choose, get_operator, make_case
from cab.measure.points import Point, SubjectName, grid_of, sizes
from cab.registry import Registry, discover_variants
from cab.seeding import derive_seed, generator
from cab.taxonomy import VariantCard

Inputs = Mapping[str, Tensor]


class Built:
    """A subject at a point.

    `prepare_seconds` is what building took: masks, compilation, initialisation.
    """

    def __init__(self, name: SubjectName, point: Point) -> None:
        self.name, self.point = name, point
        started = time.perf_counter()
        self._build()
        self.prepare_seconds = time.perf_counter() - started

    def _build(self) -> None:
        raise NotImplementedError

    def draw(self, seed: object) -> dict[str, Tensor]:
        """Draw inputs; equal seeds give equal numbers."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> Tensor:
        """Answer."""
        raise NotImplementedError

    def work(self) -> Work:
        """Count what a forward call cannot do without."""
        raise NotImplementedError

    def parameters(self) -> list[Tensor]:
        """What is differentiated beside the inputs."""
        return []

    def decoding(self) -> tuple[Callable[[Inputs], Any], int]:
        """Return the step that answers one token, and the bytes of the state that it reads.

        Raises:
            Unsupported: it does not decode.
        """
        raise NotImplementedError

    def prefilling(self) -> Callable[[Inputs], Any]:
        """Return what comes before the first token is answered.

        Raises:
            Unsupported: it does not decode.
        """
        raise NotImplementedError


class OperatorSubject(Built):
    """A provider of an operator; decoding is one query against `length` keys."""

    def _build(self) -> None:
        self.operator = get_operator(self.name.operator)
        self.case = make_case(**sizes(self.point))
        self.provider = choose(self.operator, self.name.name, self.case)
        if self.point.passage in ("bwd", "fwd_bwd") and not self.provider.differentiable:
            raise Unsupported(f"{self.name.label} has no backward pass.")
        self.run = self.provider.prepare(self.case)

    def draw(self, seed: object) -> dict[str, Tensor]:
        """Draw the operator's own inputs."""
        return self.operator.draw(self.case, generator("bench", seed, self.name.operator))

    def forward(self, inputs: Inputs) -> Tensor:
        """Call the provider."""
        return self.run(**inputs)

    def work(self) -> Work:
        """The operator's own count."""
        return operator_work(self.operator.work(self.case))

    def decoding(self) -> tuple[Callable[[Inputs], Any], int]:
        """One query reads the keys and values."""
        kept = [x for name, x in self.draw("state").items() if name in "kv"]
        return self.forward, sum(x.numel() * x.element_size() for x in kept)

    def prefilling(self) -> Callable[[Inputs], Any]:
        """Refuse: a provider has no prompt."""
        raise Unsupported("prefill is a pass of variants; an operator has fwd_no_grad.")


class VariantSubject(Built):
    """A variant with its projections, in evaluation mode: dropout would hide what is compared."""

    def _build(self) -> None:
        point = self.point
        self.attention = _variants(self.name.include).load(self.name.name)
        assert issubclass(self.attention, Attention)
        self.dim = point.heads * point.head_width
        longest = max(point.length, point.keys) + (point.passage == "decode")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("bench", point.length, point.pattern))
            module = build_attention(
                self.attention,
                dict(self.name.options),
                dim=self.dim,
                heads=point.heads,
                pattern=point.pattern,
                max_length=longest,
                grid=grid_of(point.length) if self.attention.card.needs_grid else None,
            )
        self.module = module.to(point.device, getattr(torch, point.dtype)).eval()

    def draw(self, seed: object) -> dict[str, Tensor]:
        """Draw the stream x and, for the cross patterns, a context."""
        point = self.point
        length = 1 if point.passage == "decode" else point.length
        shapes = {"x": (point.batch, length, self.dim)}
        if point.pattern.cross:
            shapes["context"] = (point.batch, point.keys or point.length, self.dim)
        return {
            name: torch.randn(shape, generator=generator("bench", seed, name)).to(
                point.device, getattr(torch, point.dtype)
            )
            for name, shape in shapes.items()
        }

    def forward(self, inputs: Inputs) -> Tensor:
        """Mix the stream."""
        return self.module(inputs["x"], inputs.get("context"))

    def parameters(self) -> list[Tensor]:
        """The module's parameters."""
        return [one for one in self.module.parameters() if one.requires_grad]

    def work(self) -> Work:
        """By formula where the mechanism is exact attention, else counted."""
        return variant_work(self.module, self.point, self.draw("count"))

    @torch.no_grad()
    def decoding(self) -> tuple[Callable[[Inputs], Any], int]:
        """Read `length` tokens one by one (CS), or the context (CC); then a step is one more."""
        self._must_decode()
        inputs = self.draw("prompt")
        state = self.module.initial_state(self.point.batch, inputs.get("context"))
        if not self.point.pattern.cross:
            prompt = torch.randn(
                (self.point.length, self.point.batch, self.dim), generator=generator("prompt")
            )
            for token in prompt.to(self.point.device, inputs["x"].dtype):
                _, state = self.module.step(token, state)
        return lambda given: self.module.step(given["x"][:, 0], state)[0], bytes_of(state)

    def prefilling(self) -> Callable[[Inputs], Any]:
        """CC reads the context into a state; in CS the prompt's forward pass stands for it."""
        self._must_decode()
        if self.point.pattern.cross:
            return lambda given: self.module.initial_state(self.point.batch, given["context"])
        return self.forward

    def _must_decode(self) -> None:
        if not self.module.decodes:
            raise Unsupported(f"{self.name.name} does not decode in {self.point.pattern}.")


@functools.cache
def _variants(include: tuple[Path, ...]) -> Registry[VariantCard]:
    """What there is, read once: a cell builds its subjects five times, to time and to check."""
    return discover_variants(include)


def build(name: SubjectName, point: Point) -> Built:
    """Build a subject at a point.

    Raises:
        CabError: an unknown name or setting.
        Unsupported: the subject does not offer the point.
    """
    return OperatorSubject(name, point) if name.operator else VariantSubject(name, point)


def bytes_of(tensors: Any) -> int:
    """The bytes of the distinct storages below some tensors."""
    from torch.utils._pytree import tree_leaves

    storages = {
        leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes()
        for leaf in tree_leaves(tensors)
        if isinstance(leaf, Tensor)
    }
    return sum(storages.values())
