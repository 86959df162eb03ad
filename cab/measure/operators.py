"""Operators as the harness sees them: found below a package, used through this interface alone."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from torch import Generator, Tensor

from cab.errors import UnknownName, Unsupported

PACKAGE = "cab.kernels"


class Case(Protocol):
    """The sizes of one call; see `operator.py` beside the operators."""

    @property
    def queries(self) -> int:
        """N, the number of queries."""


class Work(Protocol):
    """What a forward call cannot do without."""

    @property
    def flops(self) -> int:
        """Useful operations: two per multiply-add."""

    @property
    def exponentials(self) -> int:
        """Exponentials."""

    @property
    def bytes(self) -> int:
        """Bytes in and out, each once."""


class Provider(Protocol):
    """One implementation of an operator."""

    @property
    def prepare(self) -> Callable[[Any], Callable[..., Tensor]]:
        """Build what is not the call itself, and return the call."""

    @property
    def differentiable(self) -> bool:
        """Whether it has a backward pass."""


class Operator(Protocol):
    """A function of named tensors, its definition and its providers."""

    @property
    def name(self) -> str:
        """The operator's name."""

    @property
    def draw(self) -> Callable[[Any, Generator], dict[str, Tensor]]:
        """Draw the inputs of a case."""

    @property
    def oracle(self) -> Callable[[Mapping[str, Tensor], Any, Tensor], Tensor]:
        """Answer some queries in float64."""

    @property
    def work(self) -> Callable[[Any], Work]:
        """Count a case's work."""

    @property
    def providers(self) -> Mapping[str, Provider]:
        """The implementations, by name."""

    @property
    def plain(self) -> str:
        """The provider that is the definition, in the inputs' own dtype."""

    def choose(self, name: str, case: Any) -> Provider:
        """Return a provider, or raise."""


@lru_cache(maxsize=1)
def operators() -> Mapping[str, Operator]:
    """Every operator of the package, by name."""
    package = importlib.import_module(PACKAGE)
    found: dict[str, Operator] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            folder = f"{PACKAGE}.{module.name}"
            if importlib.util.find_spec(f"{folder}.api") is not None:
                operator: Operator = importlib.import_module(f"{folder}.api").OPERATOR
                found[operator.name] = operator
    return found


def get_operator(name: str) -> Operator:
    """Return an operator; an unknown name raises with the nearest ones."""
    known = operators()
    if name not in known:
        raise UnknownName("operator", name, known)
    return known[name]


def make_case(**sizes: Any) -> Any:
    """Return a `Case` of these sizes."""
    return importlib.import_module(f"{PACKAGE}.operator").Case(**sizes)


def choose(operator: Operator, provider: str, case: Any) -> Provider:
    """Return a provider that can run a case.

    Raises:
        UnknownName: there is none of that name.
        Unsupported: it cannot run the case; the message says why.
    """
    if provider not in operator.providers:
        raise UnknownName(f"provider of {operator.name}", provider, operator.providers)
    try:
        return operator.choose(provider, case)
    except ValueError as error:
        raise Unsupported(str(error)) from None
