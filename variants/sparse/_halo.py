"""Tiles of queries that see themselves and their surroundings, of `halo` and `overlap-cross`.

Dimensions: B batch, H heads, N length, E head width.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from cab.variants.sparse._blocks import attend_visible
from cab.variants.sparse._pictures import Pair, absent_places, from_tiles, to_picture, to_tiles


def attend_with_halo(
    q: Float[Tensor, "B H N E"],
    k: Float[Tensor, "B H N E"],
    v: Float[Tensor, "B H N E"],
    key_padding_mask: Bool[Tensor, "B N"] | None,
    grid: Pair,
    side: int,
    halo: int,
) -> Float[Tensor, "B H N E"]:
    """Softmax of a tile's scaled queries over the tile and up to `halo` tokens beyond it."""
    tile = min(side, grid[0]), min(side, grid[1])
    beside = min(halo, grid[0]), min(halo, grid[1])
    queries = to_tiles(to_picture(q, grid), tile)
    keys, values = (to_tiles(to_picture(x, grid), tile, beside) for x in (k, v))
    absent = to_tiles(absent_places(k, key_padding_mask, grid), tile, beside, fill=True)
    mixed = attend_visible(queries, keys, values, absent.mT)
    return from_tiles(mixed, tile, grid).flatten(2, 3)
