"""`--shard i/n`: the part of a plan that falls to one of n machines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cab.errors import CabError

if TYPE_CHECKING:
    from cab.running.cells import Cell


@dataclass(frozen=True)
class Shard:
    """The i-th of n parts, counted from 1."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> "Shard":
        """Read `i/n`.

        Raises:
            CabError: it is anything else, or i is not from 1 to n.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 0 < int(number) <= int(count):
            return cls(int(number), int(count))
        raise CabError(
            f"--shard {text!r} is not of the form I/N, with I from 1 to N. Use for example 1/4."
        )

    def of(self, cells: "Sequence[Cell]") -> "tuple[Cell, ...]":
        """This part of a plan, in its order.

        Cells are dealt out by their keys, so that every machine with the same plan deals alike,
        whatever is done already, and no part gets all seeds of the slowest task. The rates and
        seeds of one search stay together, since its choice needs all of them.
        """
        from cab.running.search import group_of

        groups = {cell.key: group_of(cell) for cell in cells}
        mine = set(sorted(set(groups.values()))[self.number - 1 :: self.count])
        return tuple(cell for cell in cells if groups[cell.key] in mine)
