"""Ten laws that a variant must satisfy before it is scored or timed: `cab check`.

`law` says what a law is: read it first. Each law has a module of its own; `check` runs them, and
`subject` builds the variant at the sizes that a law asks for. A law sees a variant's card only.
"""

from cab.conformance.parametrize import BrokenLaw, checks, parametrize_with_checks

__all__ = ["BrokenLaw", "checks", "parametrize_with_checks"]
