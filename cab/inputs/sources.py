"""Where a variant reads its keys and values: its own sequence, or a context.

Dimensions: B batch, N query length, M key length, K either, D model width.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.errors import Unsupported
from cab.inputs.padding import zero_padding
from cab.taxonomy import Pattern


def read_source(
    pattern: Pattern,
    x: Float[Tensor, "B N D"],
    context: Float[Tensor, "B M D"] | None,
    key_padding_mask: Bool[Tensor, "B K"] | None,
) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B K D"]]:
    """Return (queries, source of keys and values) with padding zeroed.

    Raises:
        ValueError: a cross pattern without a context, or a self pattern with one.
    """
    check_context(pattern, context)
    if context is not None:
        return x, zero_padding(context, key_padding_mask)
    x = zero_padding(x, key_padding_mask)
    return x, x


def read_decoding_context(
    pattern: Pattern,
    context: Float[Tensor, "B M D"] | None,
    key_padding_mask: Bool[Tensor, "B M"] | None,
) -> Float[Tensor, "B M D"] | None:
    """Return what a decoder reads before its first token: the context in CC, None in CS.

    Raises:
        Unsupported: the pattern is not causal.
        ValueError: CC without a context, or CS with one.
    """
    if not pattern.causal:
        raise Unsupported(f"Pattern {pattern} ({pattern.words}) is not causal; it cannot decode.")
    check_context(pattern, context)
    return None if context is None else zero_padding(context, key_padding_mask)


def check_context(pattern: Pattern, context: Tensor | None) -> None:
    """Refuse a missing context, or one too many.

    Raises:
        ValueError: a cross pattern without a context, or a self pattern with one.
    """
    if pattern.cross != (context is not None):
        wanted = "needs a context" if pattern.cross else "takes no context"
        raise ValueError(f"Pattern {pattern} ({pattern.words}) {wanted}.")
