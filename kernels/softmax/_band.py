"""Which keys a query sees: a band of the score matrix, cut into tiles.

Query i sees key j where i + left <= j <= i + right; a side without a bound is compiled away.
Causal attention has right = 0 if queries and keys start together (`top_left`), or right = M - N
if they end together (`bottom_right`); a window of w has left = right - w + 1.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import NamedTuple, no_type_check

import triton
import triton.language as tl


class Band(NamedTuple):
    """Bounds of j - i for a visible pair, inclusive; None: no bound on that side."""

    left: int | None
    right: int | None


def band(queries: int, keys: int, *, causal: bool, window: int | None, alignment: str) -> Band:
    """Return the band of causal attention, of a window |t - s| < w, or of both.

    Args:
        queries: N, the number of queries.
        keys: M, the number of keys.
        causal: no key after the query.
        window: w, or None for no window.
        alignment: which corner of the score matrix is the diagonal's: `top_left`, where query i
            stands at key i, or `bottom_right`, where the last query stands at the last key.

    Raises:
        ValueError: an unknown alignment, or a window below 1.
    """
    if alignment not in ("top_left", "bottom_right"):
        raise ValueError(f"alignment is {alignment!r}; it is 'top_left' or 'bottom_right'.")
    if window is not None and window < 1:
        raise ValueError(f"window = {window}; a query must see at least itself.")
    shift = keys - queries if alignment == "bottom_right" else 0
    left = None if window is None else shift - window + 1
    right = shift if causal else None if window is None else shift + window - 1
    return Band(left, right)


@triton.jit
@no_type_check
def visible_blocks(
    first,
    rows,
    left,
    right,
    columns,
    BLOCK: tl.constexpr,
    HAS_LEFT: tl.constexpr,
    HAS_RIGHT: tl.constexpr,
):
    """Return the blocks of columns that `rows` rows from `first` on meet, as four bounds.

    Blocks low ... full_low - 1 and full_high ... high - 1 hold hidden pairs too, or columns that
    do not exist; between full_low and full_high every pair is visible, and no mask is needed.
    """
    last = first + rows - 1
    low = 0
    full_low = 0
    high = (columns + BLOCK - 1) // BLOCK
    full_high = columns // BLOCK
    if HAS_LEFT:
        low = tl.maximum(first + left, 0) // BLOCK
        full_low = (tl.maximum(last + left, 0) + BLOCK - 1) // BLOCK
    if HAS_RIGHT:
        # Division of a negative number rounds towards 0 on the device: clamp first.
        high = tl.minimum(high, (tl.maximum(last + right + 1, 0) + BLOCK - 1) // BLOCK)
        full_high = tl.minimum(full_high, tl.maximum(first + right + 1, 0) // BLOCK)
    low = tl.minimum(low, high)
    full_low = tl.minimum(tl.maximum(full_low, low), high)
    full_high = tl.minimum(tl.maximum(full_high, full_low), high)
    return low, full_low, full_high, high


@triton.jit
@no_type_check
def in_band(i, j, left, right, HAS_LEFT: tl.constexpr, HAS_RIGHT: tl.constexpr):
    """Return whether query i sees key j, for tiles of i and j; needs one bound at least."""
    if HAS_LEFT and HAS_RIGHT:
        return (j >= i + left) & (j <= i + right)
    elif HAS_LEFT:
        return j >= i + left
    else:
        return j <= i + right
