"""The interface of an operator: inputs, float64 reference, work and implementations.

Every folder here with an `api.py` is an operator, which that file defines as `OPERATOR`. A caller
chooses an implementation by name. If it cannot run a case it raises an error; there is no fallback
to another implementation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = Mapping[str, Tensor]
Run = Callable[..., Tensor]
Alignment = Literal["top_left", "bottom_right"]


class CannotRun(ValueError):
    """An implementation cannot run a case; the message gives the reason."""


@dataclass(frozen=True)
class Case:
    """The sizes of one call: B batch, H heads, G key heads, N queries, M keys, K and V widths.

    alignment places the diagonal of a causal mask if N and M differ: with top_left query i sees
    keys s <= i; with bottom_right the queries are the last N of the M positions. A query sees keys
    nearer than `window`; 0 means no window. If the tokens form an image, grid is its height and
    width, window the side of a window in tokens, and dilation the step between the tokens of a
    window.
    """

    batch: int
    heads: int
    key_heads: int
    queries: int
    keys: int
    width: int
    value_width: int
    causal: bool = False
    alignment: Alignment = "bottom_right"
    window: int = 0
    grid: tuple[int, int] = (1, 1)
    dilation: int = 1
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def offset(self) -> int:
        """The position, among the keys, of query 0."""
        return self.keys - self.queries if self.alignment == "bottom_right" else 0


@dataclass(frozen=True)
class Work:
    """The necessary work of a forward call: operations, exponentials, bytes in and out."""

    flops: int
    exponentials: int
    bytes: int


def always(case: Case) -> str:
    """Accept every case."""
    return ""


@dataclass(frozen=True)
class Implementation:
    """One implementation of an operator.

    prepare builds masks, compiled kernels and the like for a case, and returns the call. refuses
    returns the reason why a case cannot run, or an empty text.
    """

    prepare: Callable[[Case], Run]
    refuses: Callable[[Case], str] = always
    differentiable: bool = True


@dataclass(frozen=True)
class Operator:
    """A function of named tensors, its definition and its implementations.

    Attributes: draw: draws the inputs of a case, such as unit keys or gates below 0 where needed.
        oracle: oracle(inputs, case, rows) computes the outputs of the queries `rows` in float64,
        by definition. work: counts the work of a case. plain: the implementation that follows the
        definition in the inputs' dtype; the others may have twice its rounding error. refuses:
        returns the reason why no implementation can run a case, or an empty text.
    """

    name: str
    summary: str
    draw: Callable[[Case, torch.Generator], dict[str, Tensor]]
    oracle: Callable[[Inputs, Case, Tensor], Tensor]
    work: Callable[[Case], Work]
    implementations: Mapping[str, Implementation]
    plain: str
    refuses: Callable[[Case], str] = always

    def choose(self, name: str, case: Case) -> Implementation:
        """Return an implementation that can run a case.

        Raises:
            CannotRun: there is no such implementation, or it cannot run the case.
        """
        implementation = self.implementations.get(name)
        if implementation is None:
            known = ", ".join(self.implementations)
            raise CannotRun(f"{self.name} has no implementation {name!r}; choose one of {known}.")
        if reason := self.refuses(case) or implementation.refuses(case):
            raise CannotRun(f"{self.name}:{name} cannot run this case: {reason}")
        return implementation


def normal(case: Case, generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers; constant inputs would use less power and run faster.

    A GPU draws its own numbers from a seed of the generator, since a CPU would take seconds.
    """
    if case.device != "cpu":
        seed = int(torch.randint(1 << 62, (), generator=generator))
        generator = torch.Generator(case.device).manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, device=case.device, dtype=torch.float32)
    return drawn.to(case.dtype)


def draw_qkv(case: Case, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw q (B, H, N, K), k (B, G, M, K) and v (B, G, M, V).

    The heads of a token are adjacent in memory, as after the projection of a layer.
    """
    sizes = {
        "q": (case.batch, case.queries, case.heads, case.width),
        "k": (case.batch, case.keys, case.key_heads, case.width),
        "v": (case.batch, case.keys, case.key_heads, case.value_width),
    }
    return {name: normal(case, generator, *size).transpose(1, 2) for name, size in sizes.items()}


def draw_gates(
    case: Case, generator: torch.Generator, function: Callable[[Tensor], Tensor], *width: int
) -> Tensor:
    """Draw gates (B, H, N, ..), a function of normal numbers, laid out as in `draw_qkv`."""
    drawn = normal(case, generator, case.batch, case.queries, case.heads, *width)
    return function(drawn).transpose(1, 2)


def remembering(gate: Tensor) -> Tensor:
    """Return log-decays near 0: log sigmoid(gate + 3)."""
    return F.logsigmoid(gate + 3)


def bytes_of_qkv(case: Case) -> int:
    """Return the bytes of q, k, v and the output, each moved once."""
    queries = case.batch * case.heads * case.queries * (case.width + case.value_width)
    keys = case.batch * case.key_heads * case.keys * (case.width + case.value_width)
    return (queries + keys) * case.dtype.itemsize


def needs_square_causal(case: Case) -> str:
    """Refuse any case other than one causal sequence without grouped heads and window."""
    if not case.causal or case.queries != case.keys:
        return "it needs one causal sequence (pattern cs, as many queries as keys)."
    return needs_equal_heads(case)


def needs_equal_heads(case: Case) -> str:
    """Refuse grouped heads and windows."""
    if case.key_heads != case.heads:
        return f"it needs as many key heads ({case.key_heads}) as query heads ({case.heads})."
    return "it takes no window; omit --window." if case.window else ""
