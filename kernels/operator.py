"""What an operator offers to whoever calls, proves or times it: inputs, oracle, work, providers.

Each folder beside this file that holds an `api.py` is an operator: its `OPERATOR`. A provider is
chosen once, by name, and one that cannot run a case raises: none stands in for another.
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
    """A provider that does not offer a case, with the reason."""


@dataclass(frozen=True)
class Case:
    """The sizes of one call: B batch, H heads, G key heads, N queries, M keys, K and V widths.

    alignment says which diagonal a causal rectangle keeps: top_left, query i sees keys s <= i;
    bottom_right, the queries are the last N of the M positions. window = 0 is no window; else a
    query sees keys nearer than that. Where the tokens are a picture, grid is its height and width;
    window is then the side of a window and dilation the steps between its places.
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
    """What a forward call cannot do without: operations, exponentials, bytes in and out."""

    flops: int
    exponentials: int
    bytes: int


def always(case: Case) -> str:
    """Refuse nothing."""
    return ""


@dataclass(frozen=True)
class Provider:
    """One implementation.

    prepare builds for a case what is not the call itself (masks, a compiled kernel) and returns
    the call; refuses gives the reason why a case cannot run, or nothing.
    """

    prepare: Callable[[Case], Run]
    refuses: Callable[[Case], str] = always
    differentiable: bool = True


@dataclass(frozen=True)
class Operator:
    """A function of named tensors, its definition and its implementations.

    draw makes the inputs of a case, with the invariants that the operator needs (unit keys, gates
    below 0). oracle(inputs, case, rows) answers the queries `rows` in float64, by definition.
    plain names the provider that is the definition in the inputs' own dtype: what its rounding
    costs, another provider may cost twice. refuses says which cases no provider can run.
    """

    name: str
    summary: str
    draw: Callable[[Case, torch.Generator], dict[str, Tensor]]
    oracle: Callable[[Inputs, Case, Tensor], Tensor]
    work: Callable[[Case], Work]
    providers: Mapping[str, Provider]
    plain: str
    refuses: Callable[[Case], str] = always

    def choose(self, name: str, case: Case) -> Provider:
        """Return a provider that can run a case.

        Raises:
            CannotRun: there is none of that name, or it does not offer the case.
        """
        provider = self.providers.get(name)
        if provider is None:
            known = ", ".join(self.providers)
            raise CannotRun(f"{self.name} has no provider {name!r}; it has {known}.")
        if reason := self.refuses(case) or provider.refuses(case):
            raise CannotRun(f"{self.name} by {name}: {reason}")
        return provider


def normal(case: Case, generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers: constant or sparse inputs draw less power and run faster.

    On a GPU it draws itself, from a seed that the generator gives: a CPU would take seconds.
    """
    if case.device != "cpu":
        seed = int(torch.randint(1 << 62, (), generator=generator))
        generator = torch.Generator(case.device).manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, device=case.device, dtype=torch.float32)
    return drawn.to(case.dtype)


def draw_qkv(case: Case, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw q (B, H, N, K), k (B, G, M, K) and v (B, G, M, V).

    In memory the heads of a token lie side by side, as a layer's projection leaves them.
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
    """Draw gates (B, H, N, ..), a function of normal numbers, in memory as `draw_qkv` says."""
    drawn = normal(case, generator, case.batch, case.queries, case.heads, *width)
    return function(drawn).transpose(1, 2)


def remembering(gate: Tensor) -> Tensor:
    """Return log-decays near 0: logarithms of sigmoids of what stands 3 above."""
    return F.logsigmoid(gate + 3)


def bytes_of_qkv(case: Case) -> int:
    """The bytes of q, k, v and the output, each moved once."""
    queries = case.batch * case.heads * case.queries * (case.width + case.value_width)
    keys = case.batch * case.key_heads * case.keys * (case.width + case.value_width)
    return (queries + keys) * case.dtype.itemsize


def needs_square_causal(case: Case) -> str:
    """Refuse what a causal recurrence over one sequence does not have."""
    if not case.causal or case.queries != case.keys:
        return "it runs over one causal sequence (pattern cs, as many queries as keys)."
    return needs_equal_heads(case)


def needs_equal_heads(case: Case) -> str:
    """Refuse grouped heads and windows."""
    if case.key_heads != case.heads:
        return f"it has no grouped heads ({case.heads} query heads, {case.key_heads} key heads)."
    return "it has no window." if case.window else ""
