"""The variant that a law is held against, in one pattern, and the inputs it is probed with.

Batch, heads, widths and lengths all differ, so that no transposition passes; lengths are never
only powers of two and always include one just above every chunk, window or block of the Config.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cab.attention import Attention, build_attention
from cab.errors import CabError
from cab.seeding import generator
from cab.taxonomy import Pattern, VariantCard

BATCH, CONTEXT = 4, 29
LENGTHS = (1, 2, 7, 17, 63, 64, 65, 130)
LONGEST = 130
GRIDS = ((1, 1), (1, 2), (2, 1), (3, 5), (5, 3), (7, 9), (8, 8), (5, 13), (10, 13))
GEOMETRIES = ((3, 5), (3, 6), (2, 6), (4, 6), (3, 8), (4, 8), (4, 16))
"""(heads, head width), the oddest first; the first that the variant accepts is used.

A variant refuses a width by `UnsupportedWidth`, or another ValueError, in `__init__`.
"""
LAYER, LAYERS = 1, 3
"""The place that a variant is told, unless said otherwise: neither the first nor the last."""
TRAINED = ((4, 16), (2, 32), (1, 64))
"""The geometries that `quick` trains at; the first that the variant accepts is used."""
FAR, FAR_GRID = (331, 1031), (17, 19)
"""Lengths beyond the chunks that are usual, and no multiples of any."""
REACHED, SHRUNK = 1300, 33
"""The largest integer of a Config that a length goes beyond; what larger ones are set to, too."""
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


class Shape(NamedTuple):
    """A length of the stream and, for mechanisms of pictures, its grid."""

    length: int
    grid: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"length {self.length}" if self.grid is None else "grid {} x {}".format(*self.grid)


@dataclass(frozen=True)
class Subject:
    """A variant's class with its options, in one pattern, on one device.

    reference is the class with the role `reference`, to compare with where a law says so. widest
    takes the place of float64, for a variant that computes in less whatever it is given.
    train_length is the one that a module is told, at most; left out, it is max_length.
    """

    attention: type[Attention]
    pattern: Pattern
    options: Mapping[str, Any] = field(default_factory=dict)
    dtypes: tuple[torch.dtype, ...] = DTYPES
    device: str = "cpu"
    reference: type[Attention] | None = None
    geometries: tuple[tuple[int, int], ...] = GEOMETRIES
    layer: int = LAYER
    widest: torch.dtype = torch.float64
    train_length: int | None = None

    @property
    def card(self) -> VariantCard:
        """The variant's card."""
        return self.attention.card

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The values of the variant's Config."""
        config = self.build(Shape(4, (2, 2) if self.card.needs_grid else None)).config
        return dataclasses.asdict(config)

    @cached_property
    def geometry(self) -> tuple[int, int]:
        """(heads, head width): the first of `geometries` that the variant accepts."""
        refused: list[str] = []
        shape = Shape(4, (2, 2) if self.card.needs_grid else None)
        for heads, width in self.geometries:
            try:
                self._construct(shape, heads, heads * width, {}, shape.length)
            except (ValueError, CabError) as error:
                refused.append(f"{heads} heads of width {width}: {error}")
            else:
                return heads, width
        raise ValueError("No geometry is accepted. " + " ".join(refused))

    @property
    def dim(self) -> int:
        """The model width that variants are built with."""
        heads, width = self.geometry
        return heads * width

    def shapes(self, longest: int = LONGEST) -> tuple[Shape, ...]:
        """The shapes to probe, up to a length."""
        if self.card.needs_grid:
            grids = tuple(Shape(a * b, (a, b)) for a, b in GRIDS)
            return tuple(shape for shape in grids if shape.length <= longest)
        above = {n + 1 for n in self._sizes() if n < longest}
        return tuple(Shape(n) for n in sorted({*LENGTHS, *above}) if n <= longest)

    @cached_property
    def trained(self) -> "Subject":
        """The same variant at the width at which it is trained and tested."""
        return dataclasses.replace(self, geometries=(*TRAINED, *GEOMETRIES))

    @cached_property
    def placed(self) -> tuple["Subject", ...]:
        """The variant itself, and in the first and last layer if it answers otherwise there."""
        try:
            expected, again = self._sample(), self._sample()
            if not again.equal(expected):  # it does not answer twice alike in one layer either
                return (self,)
            others = [dataclasses.replace(self, layer=layer) for layer in (0, LAYERS - 1)]
            return (self, *(one for one in others if not one._sample().equal(expected)))
        except Exception:  # a law that calls it will meet this too, and say so
            return (self,)

    @torch.no_grad()
    def _sample(self) -> Tensor:
        """What the variant answers to one input, to compare layers by."""
        shape, dtype = self.typical(70)[-1], self.dtypes[0]
        x = self.draw(2, shape.length, self.dim, seed="sample", dtype=dtype)
        out: Tensor = self.build(shape, dtype=dtype)(x, self.context(2, dtype=dtype))
        return out

    @property
    def far(self) -> tuple[Shape, ...]:
        """Shapes as long as those of tasks, for what costs a few calls alone."""
        if self.card.needs_grid:
            return (Shape(FAR_GRID[0] * FAR_GRID[1], FAR_GRID),)
        return tuple(Shape(n) for n in FAR)

    @property
    def without_dropout(self) -> dict[str, Any]:
        """Options under which training and evaluation must agree: no dropout and no noise."""
        return {name: 0.0 for name in ("dropout", "noise") if name in self.config}

    def typical(self, longest: int = LONGEST) -> tuple[Shape, ...]:
        """Three of the shapes: a short one, one of middle length, the longest."""
        shapes = [shape for shape in self.shapes(longest) if shape.length >= 7]
        kept = (shapes[min(1, len(shapes) - 1)], shapes[len(shapes) // 2], shapes[-1])
        return tuple(dict.fromkeys(kept))

    def _sizes(self) -> set[int]:
        """The integers of the Config: chunks, windows, blocks (and others, which do no harm)."""
        return {v for value in self.config.values() for v in _flat(value) if _is_size(v)}

    @property
    def large_sizes(self) -> list[int]:
        """The integers of the Config that the shapes to probe do not reach, up to REACHED."""
        return sorted(size for size in self._sizes() if LONGEST <= size + 1 <= REACHED)

    @property
    def large(self) -> tuple[Shape, ...]:
        """Shapes just above each large size of the Config, and above twice the largest."""
        if self.card.needs_grid or not self.large_sizes:
            return ()
        lengths = {size + 1 for size in self.large_sizes} | {2 * self.large_sizes[-1] + 1}
        return tuple(Shape(n) for n in sorted(lengths) if n <= 2 * REACHED)

    @cached_property
    def shrunk(self) -> "Subject | None":
        """The same variant with its large sizes made small, if it has some and takes that."""
        large = [k for k, v in self.config.items() if _is_size(v) and v > SHRUNK]
        if not large or self.card.needs_grid:
            return None
        options = {**self.options, **dict.fromkeys(large, SHRUNK)}
        one = dataclasses.replace(self, options=options)
        try:
            one.build(Shape(4))
        except Exception:  # this size is not one that may be chosen freely
            return None
        return one

    def build(
        self,
        shape: Shape,
        *,
        dtype: torch.dtype = torch.float64,
        seed: int = 0,
        context: int = CONTEXT,
        options: Mapping[str, Any] = MappingProxyType({}),
        moved: bool = True,
    ) -> Attention:
        """Construct the variant in evaluation mode; the global random state is left as it was.

        If moved, every parameter that learns is moved a little from where it starts: what a gate
        of 0, a kernel of 1 or a bias hides must show. Frozen parameters are constants and keep
        theirs. Parameters whose elements share memory are copied first.
        """
        heads, width = self.geometry
        longest = max(shape.length, context if self.pattern.cross else 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self._construct(shape, heads, heads * width, options, longest)
            with torch.no_grad():
                for parameter in module.parameters() if moved else ():
                    if parameter.requires_grad:
                        if shares_memory(parameter):
                            parameter.data = parameter.data.clone()
                        parameter.add_(0.1 * torch.randn_like(parameter))
        return module.to(self.device, self._at_most(dtype)).eval()

    def _at_most(self, dtype: torch.dtype) -> torch.dtype:
        return self.widest if dtype == torch.float64 else dtype

    def _construct(
        self, shape: Shape, heads: int, dim: int, options: Mapping[str, Any], longest: int
    ) -> Attention:
        trained = {}
        if self.train_length is not None:
            trained["train_length"] = min(self.train_length, longest)
        return build_attention(
            self.attention,
            {**self.options, **options},
            dim=dim,
            heads=heads,
            pattern=self.pattern,
            max_length=longest,
            grid=shape.grid,
            layer=self.layer,
            layers=LAYERS,
            **trained,
        )

    def draw(self, *shape: int, seed: object, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal numbers from a generator of their own."""
        numbers = torch.randn(shape, generator=generator(seed, *shape), dtype=torch.float64)
        return numbers.to(self.device, self._at_most(dtype))

    def respond(
        self, module: Attention, keys: Tensor, queries: Tensor, mask: Tensor | None
    ) -> list[Tensor]:
        """Return the output, then its gradients for the keys and for each parameter that learns.

        In the cross patterns the queries read the keys; in self attention the keys are the stream,
        and what stands at padded places is no output.
        """
        keys, cross = keys.detach().requires_grad_(), self.pattern.cross
        out: Tensor = module(
            queries if cross else keys, keys if cross else None, key_padding_mask=mask
        )
        if mask is not None and not cross:
            out = out.masked_fill(mask[:, :, None], 0.0)
        if not out.requires_grad:
            return [out]
        above = self.draw(*out.shape, seed="from above", dtype=out.dtype)
        leaves = [keys, *(p for p in module.parameters() if p.requires_grad)]
        return [out, *torch.autograd.grad((out * above).sum(), leaves, materialize_grads=True)]

    def context(
        self,
        batch: int,
        length: int = CONTEXT,
        *,
        dtype: torch.dtype = torch.float64,
        seed: object = "context",
    ) -> Tensor | None:
        """A context where the pattern takes one, else None."""
        if not self.pattern.cross:
            return None
        return self.draw(batch, length, self.dim, seed=seed, dtype=dtype)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [one for part in value for one in _flat(part)]
    return [value]


def right_padding(lengths: list[int], longest: int, device: str = "cpu") -> Tensor:
    """The mask (B, longest) of rows of these lengths; True marks padding."""
    return torch.arange(longest, device=device) >= torch.tensor(lengths, device=device)[:, None]


def shares_memory(x: Tensor) -> bool:
    """Whether elements of a tensor share memory, as those of an expanded one do."""
    return any(n > 1 and not stride for n, stride in zip(x.shape, x.stride(), strict=True))


def name_of(dtype: torch.dtype) -> str:
    """A dtype's name without its module."""
    return str(dtype).removeprefix("torch.")
