"""The interface of operators, and their discovery below a package."""

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
    """The necessary work of a forward call."""

    @property
    def flops(self) -> int:
        """Useful operations: two per multiply-add."""

    @property
    def exponentials(self) -> int:
        """Exponentials."""

    @property
    def bytes(self) -> int:
        """Bytes of inputs and output, each once."""


class Implementation(Protocol):
    """One implementation of an operator."""

    @property
    def prepare(self) -> Callable[[Any], Callable[..., Tensor]]:
        """Prepare masks and the like for a case, and return the call."""

    @property
    def differentiable(self) -> bool:
        """Whether it has a backward pass."""


class Operator(Protocol):
    """A function of named tensors, its definition and its implementations."""

    @property
    def name(self) -> str:
        """The operator's name."""

    @property
    def draw(self) -> Callable[[Any, Generator], dict[str, Tensor]]:
        """Draw the inputs of a case."""

    @property
    def oracle(self) -> Callable[[Mapping[str, Tensor], Any, Tensor], Tensor]:
        """Compute the outputs of some queries in float64."""

    @property
    def work(self) -> Callable[[Any], Work]:
        """Count the work of a case."""

    @property
    def implementations(self) -> Mapping[str, Implementation]:
        """The implementations, by name."""

    @property
    def plain(self) -> str:
        """The name of the implementation that is the definition in the inputs' dtype."""

    def choose(self, name: str, case: Any) -> Implementation:
        """Return an implementation that can run a case."""


@lru_cache(maxsize=1)
def operators() -> Mapping[str, Operator]:
    """Return every operator of the package, by name."""
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
    """Return an operator by name.

    Raises:
        UnknownName: there is no such operator; the message suggests similar names.
    """
    known = operators()
    if name not in known:
        raise UnknownName("operator", name, known)
    return known[name]


def make_case(**sizes: Any) -> Any:
    """Return a `Case` of these sizes."""
    return importlib.import_module(f"{PACKAGE}.operator").Case(**sizes)


def choose(operator: Operator, implementation: str, case: Any) -> Implementation:
    """Return an implementation that can run a case.

    Raises:
        UnknownName: there is no such implementation.
        Unsupported: the implementation cannot run the case; the message says why.
    """
    if implementation not in operator.implementations:
        raise UnknownName(
            f"implementation of {operator.name}", implementation, operator.implementations
        )
    try:
        return operator.choose(implementation, case)
    except ValueError as error:
        raise Unsupported(str(error)) from None
