"""The laws as tests of a third party's own suite, in the manner of scikit-learn's checks."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from cab.attention import Attention
from cab.conformance.check import LAWS, hold
from cab.conformance.law import Law
from cab.conformance.subject import Subject
from cab.registry import discover_variants, name_of_role


class BrokenLaw(AssertionError):
    """A variant breaks a law; the message lists the findings."""


def checks(
    attention: type[Attention], options: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, check) for each law and each pattern of a registered class.

    A check raises `BrokenLaw` with the findings; options set fields of the variant's Config.
    """
    variants = discover_variants()
    reference: Any = variants.load(name_of_role(variants, "reference"))
    for pattern in attention.card.patterns:
        subject = Subject(attention, pattern, options, reference=reference)
        for law in LAWS:
            yield f"{law.name}-{pattern}", partial(_check, subject, law)


def parametrize_with_checks(
    attention: type[Attention], options: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """Parametrize a pytest test with every check of a variant.

    The test takes one argument, `check`, and calls it::

        @parametrize_with_checks(MyAttention)
        def test_my_attention_keeps_the_laws(check):
            check()
    """
    import pytest

    named = list(checks(attention, options))
    return pytest.mark.parametrize("check", [pytest.param(c, id=name) for name, c in named])


def _check(subject: Subject, law: Law) -> None:
    verdict = hold(subject, law)
    if verdict is not None and not verdict.holds:
        raise BrokenLaw("\n".join(map(str, verdict.findings)))
