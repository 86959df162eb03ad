"""Mechanisms that are built and ready to be called: variants and implementations of operators."""

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
from cab.measure.points import MechanismName, Point, grid_of, sizes
from cab.registry import Registry, discover_variants
from cab.seeding import derive_seed, generator
from cab.taxonomy import VariantCard

Inputs = Mapping[str, Tensor]


class Built:
    """A mechanism at a point.

    `prepare_seconds` is the time that building took: masks, compilation, initialisation.
    """

    def __init__(self, name: MechanismName, point: Point) -> None:
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
        """Compute the output."""
        raise NotImplementedError

    def work(self) -> Work:
        """Count the necessary work of a forward call."""
        raise NotImplementedError

    def parameters(self) -> list[Tensor]:
        """Return the tensors that are differentiated, besides the inputs."""
        return []

    def decoding(self) -> tuple[Callable[[Inputs], Any], int]:
        """Return the step that decodes one token, and the bytes of the state that it reads.

        Raises:
            Unsupported: the mechanism does not decode token by token.
        """
        raise NotImplementedError

    def prefilling(self) -> Callable[[Inputs], Any]:
        """Return the call that processes the prompt.

        Raises:
            Unsupported: the mechanism does not decode token by token.
        """
        raise NotImplementedError


class BuiltOperator(Built):
    """An implementation of an operator; decoding is one query against `length` keys."""

    def _build(self) -> None:
        self.operator = get_operator(self.name.operator)
        self.case = make_case(**sizes(self.point))
        self.implementation = choose(self.operator, self.name.name, self.case)
        if self.point.passage in ("bwd", "fwd_bwd") and not self.implementation.differentiable:
            raise Unsupported(f"{self.name.label} has no backward pass; measure fwd_no_grad.")
        self.run = self.implementation.prepare(self.case)

    def draw(self, seed: object) -> dict[str, Tensor]:
        """Draw the operator's own inputs."""
        return self.operator.draw(self.case, generator("bench", seed, self.name.operator))

    def forward(self, inputs: Inputs) -> Tensor:
        """Call the implementation."""
        return self.run(**inputs)

    def work(self) -> Work:
        """The operator's own count."""
        return operator_work(self.operator.work(self.case))

    def decoding(self) -> tuple[Callable[[Inputs], Any], int]:
        """Return the call with one query, and the bytes of keys and values."""
        kept = [x for name, x in self.draw("state").items() if name in "kv"]
        return self.forward, sum(x.numel() * x.element_size() for x in kept)

    def prefilling(self) -> Callable[[Inputs], Any]:
        """Refuse: an implementation has no prompt."""
        raise Unsupported("Operators have no pass prefill; measure fwd_no_grad.")


class BuiltVariant(Built):
    """A variant with its projections, in evaluation mode, so that dropout is off."""

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
        """Draw the input x and, for the cross patterns, a context."""
        point = self.point
        length = 1 if point.passage == "decode" else point.length
        shapes = {"x": (point.batch, length, self.dim)}
        if point.pattern.cross:
            shapes["context"] = (point.batch, point.keys or point.length, self.dim)
        device, dtype = torch.device(point.device), getattr(torch, point.dtype)
        return {
            name: normal(torch.Size(shape), device, dtype, "bench", seed, name)
            for name, shape in shapes.items()
        }

    def forward(self, inputs: Inputs) -> Tensor:
        """Call the module."""
        return self.module(inputs["x"], inputs.get("context"))

    def parameters(self) -> list[Tensor]:
        """The module's parameters."""
        return [one for one in self.module.parameters() if one.requires_grad]

    def work(self) -> Work:
        """Return the work by formula for exact attention, otherwise as counted."""
        return variant_work(self.module, self.point, self.draw("count"))

    @torch.no_grad()
    def decoding(self) -> tuple[Callable[[Inputs], Any], int]:
        """Read `length` tokens (CS) or the context (CC); the step decodes one more token."""
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
        """Return the call that reads the context into a state (CC), or the forward pass (CS)."""
        self._must_decode()
        if self.point.pattern.cross:
            return lambda given: self.module.initial_state(self.point.batch, given["context"])
        return self.forward

    def _must_decode(self) -> None:
        if not self.module.decodes:
            raise Unsupported(
                f"{self.name.name} does not decode token by token in {self.point.pattern}."
            )


@functools.cache
def _variants(include: tuple[Path, ...]) -> Registry[VariantCard]:
    """Discover the variants once, since a cell builds its mechanisms five times."""
    return discover_variants(include)


def build(name: MechanismName, point: Point) -> Built:
    """Build a mechanism at a point.

    Raises:
        CabError: a name or a setting is unknown.
        Unsupported: the mechanism does not support the point.
    """
    return BuiltOperator(name, point) if name.operator else BuiltVariant(name, point)


def normal(shape: torch.Size, device: torch.device, dtype: torch.dtype, *seed: object) -> Tensor:
    """Draw normal numbers of a seed; a GPU draws its own, since a CPU would take seconds."""
    random = generator(*seed)
    if device.type == "cuda":
        random = torch.Generator(device).manual_seed(derive_seed(*seed))
    return torch.randn(shape, generator=random, device=random.device).to(device, dtype)


def refill(inputs: Inputs, numbers: Inputs) -> None:
    """Copy other numbers into the same tensors."""
    with torch.no_grad():
        for name, x in inputs.items():
            x.copy_(numbers[name])


def bytes_of(tensors: Any) -> int:
    """Return the bytes of the distinct storages of some tensors."""
    from torch.utils._pytree import tree_leaves

    storages = {
        leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes()
        for leaf in tree_leaves(tensors)
        if isinstance(leaf, Tensor)
    }
    return sum(storages.values())
