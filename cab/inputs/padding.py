"""Padding: zeroing it, and putting it where an input has no rows or no tokens.

Dimensions: B batch, N query length, M key length, K either, D model width.
"""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad


def zero_padding(
    x: Float[Tensor, "B N D"], key_padding_mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B N D"]:
    """Zero the padded positions. Not a product with the mask: 0 x NaN is NaN."""
    return x if key_padding_mask is None else x.masked_fill(key_padding_mask[:, :, None], 0.0)


def is_empty(x: Float[Tensor, "B N D"], context: Float[Tensor, "B M D"] | None) -> bool:
    """Whether there is no row, no query or no key."""
    return 0 in x.shape[:2] or (context is not None and context.shape[1] == 0)


def filled(
    x: Float[Tensor, "B N D"],
    context: Float[Tensor, "B M D"] | None,
    key_padding_mask: Bool[Tensor, "B K"] | None,
    tokens: int = 1,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return x, context and mask with a row if there is none, and with padding for missing tokens.

    Args:
        x: the query stream, filled up to `tokens` if it has none.
        context: the keys of the cross patterns, filled up to one token if it has none.
        key_padding_mask: the keys to ignore; those that are added are marked too.
        tokens: the fewest tokens that the variant takes, as many as a picture has.
    """
    rows = int(x.shape[0] == 0)
    keys = x if context is None else context
    missing = (tokens if context is None else 1) * int(keys.shape[1] == 0)
    if key_padding_mask is None:
        key_padding_mask = keys.new_zeros(keys.shape[:2]).bool()
    mask = pad(key_padding_mask, (0, missing, 0, rows), value=True)
    x = pad(x, (0, 0, 0, tokens * int(x.shape[1] == 0), 0, rows))
    if context is not None:
        context = pad(context, (0, 0, 0, missing, 0, rows))
    return x, context, mask
