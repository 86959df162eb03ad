"""Ten laws that a variant keeps before it is scored or timed: `cab check`.

Each law is a module with one `Law`. A law knows nothing of the variant but its card; it builds
the variant afresh at the sizes it wants through a `Subject`, and yields what it found.
"""

from cab.conformance.parametrize import BrokenLaw, checks, parametrize_with_checks

__all__ = ["BrokenLaw", "checks", "parametrize_with_checks"]
