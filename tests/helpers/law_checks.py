"""What the ledger of law checks says was checked: all laws, one variant in one pattern.

The ledger holds the hash of this file, so that a change of it has every variant checked again.
"""

from cab.conformance.check import LAWS, check, subjects
from cab.registry import Registry
from cab.taxonomy import Pattern, VariantCard

CHECKED = tuple(law.name for law in LAWS)


def broken_laws(variants: Registry[VariantCard], name: str, pattern: Pattern) -> list[str]:
    """Hold a variant with its default settings against every law; return what breaks one."""
    verdicts = check(subjects(variants, name, [pattern], options={}), LAWS)
    return [f"{one.law}: {finding}" for one in verdicts for finding in one.findings[:2]]
