"""Nested list operations on digits: two generators, a writer and a solver.

An expression is an operator and its operands, two or more digits or expressions again:
[MAX 2 9 [MIN 4 7] 0] is 9 (Nangia and Bowman, 2018, arXiv 1804.06028; the lengths of Long Range
Arena, Tay et al., 2020, arXiv 2011.04006). MED is the median, rounded down, SM the sum modulo 10.

A forest of T expressions is drawn level by level, all of them at once; roots are level 0.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cab.seeding import generator as seeded
from cab.task import Split

OPERATORS = ("MIN", "MAX", "MED", "SM")
MIN, MAX, MED, SM = range(4)
DIGITS = 10
PADDING, FIRST_DIGIT, FIRST_OPERATOR, CLOSE = 0, 1, 11, 15
VOCABULARY = 16
"""Tokens: padding, the digits 0 to 9, the four operators with their bracket, the closing one."""

TRIES, MOST = 2, 1024
"""Expressions that are drawn per place to fill, and at most at a time."""
NESTED = 0.25
"""How likely an operand is an expression, in Long Range Arena."""
GUESSES = (0, 9, 4, 4)
"""The likeliest value of an expression by its operator, in Long Range Arena."""
BUCKETS: dict[Split, tuple[int, ...]] = {"test": (0,), "valid": (1,), "train": (2, 3, 4, 5, 6, 7)}
"""Which eighths of all expressions, by the hash of their tokens, belong to a split."""


@dataclass(frozen=True)
class Shape:
    """How expressions are drawn: up to `depth` levels and `arguments` operands.

    Those of `shortest` to `longest` tokens are kept. With a span, answers are uniform for each of
    the first `operators`, the operands of a root are all expressions, and so is, down to level
    `span`, every operand on which the answer depends. Without one, all is as in Long Range Arena.
    """

    depth: int
    arguments: int
    shortest: int
    longest: int
    span: int = 0
    operators: int = len(OPERATORS)


@dataclass(frozen=True)
class Level:
    """The K nodes of one depth; the operands of a node stand together, in the order of parents.

    tree is the expression, parent an index into the level above, operator one of OPERATORS or -1
    for a digit, arity the number of operands and value what the node is worth.
    """

    tree: Int[Tensor, " K"]
    parent: Int[Tensor, " K"]
    operator: Int[Tensor, " K"]
    arity: Int[Tensor, " K"]
    value: Int[Tensor, " K"]

    def below(self) -> tuple[Tensor, Tensor]:
        """The parents of the level below, and where each parent's operands begin there."""
        parent = torch.arange(len(self.arity)).repeat_interleave(self.arity)
        return parent, self.arity.cumsum(dim=0) - self.arity


def draw_plain(shape: Shape, count: int, generator: torch.Generator) -> list[Level]:
    """Grow up to `count` expressions as Long Range Arena does; too long ones are left out.

    A node above the last level is an expression with the chance NESTED, its operator and arity are
    uniform, and so are digits. Only roots that are expressions are drawn: digits are too short.
    """
    tree = parent = torch.arange(count)
    tokens = torch.ones(count, dtype=torch.long)
    levels: list[Level] = []
    for depth in range(shape.depth):
        size = len(parent)
        chance = 1.0 if depth == 0 else NESTED if depth < shape.depth - 1 else 0.0
        nested = torch.rand(size, generator=generator) < chance
        operator = torch.randint(shape.operators, (size,), generator=generator).where(nested, -1)
        arity = torch.randint(2, shape.arguments + 1, (size,), generator=generator) * nested
        digits = torch.randint(DIGITS, (size,), generator=generator)
        levels.append(Level(tree, parent, operator, arity, digits))
        tokens.index_add_(0, tree, arity + nested)
        if (tokens > shape.longest).any():  # what is too long only grows
            fits = tokens <= shape.longest
            levels, tokens = select(levels, fits), tokens[fits]
        last = levels[-1]
        parent, _ = last.below()
        tree = last.tree[parent]
        if not len(parent):
            break
    return solve(levels)


def draw_balanced(
    shape: Shape, operator: Tensor, value: Tensor, generator: torch.Generator
) -> list[Level]:
    """Grow expressions with given root operators (T,) and answers (T,), from the answer down."""
    tree = parent = torch.arange(len(operator))
    decides = torch.ones(len(operator), dtype=torch.bool)
    levels: list[Level] = []
    for depth in range(shape.depth):
        size = len(parent)
        nested = torch.rand(size, generator=generator) < NESTED
        nested = (nested | (depth < 2) | (decides & (depth <= shape.span))) & (
            torch.tensor(depth < shape.depth - 1)
        )
        if depth:
            operator = torch.randint(shape.operators, (size,), generator=generator)
        arity = torch.randint(2, shape.arguments + 1, (size,), generator=generator) * nested
        levels.append(Level(tree, parent, operator.where(nested, -1), arity, value))
        parent, _ = levels[-1].below()
        if not len(parent):
            break
        tree = levels[-1].tree[parent]
        value, matter = operands(levels[-1], generator)
        decides = decides[parent] & matter
    return levels


def operands(level: Level, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw operands that give each node its value: their values, and which of them matter.

    Per node one operand, or in an even median two, hold what the value is made of; the others are
    uniform among the digits that leave it as it is. They stand in random order.
    """
    parent, first = level.below()
    operator, target, arity = (one[parent] for one in (level.operator, level.value, level.arity))
    chance = torch.rand(3, len(parent), generator=generator, dtype=torch.float64)
    order = (parent + chance[0]).argsort()
    role = torch.empty_like(parent)
    role[order] = torch.arange(len(parent)) - first[parent]

    # The two middle values of a median: equal where the count is odd.
    reach = torch.minimum(level.value, DIGITS - 1 - level.value) + 1
    away = (torch.rand(len(reach), generator=generator) * reach).long()
    wider = torch.rand(len(reach), generator=generator) < 0.5
    even = level.arity % 2 == 0
    low = level.value - away * even
    high = level.value + (away + (wider & (level.value + away < DIGITS - 1))) * even
    low, high = low[parent], high[parent]

    def between(least: Tensor | int, most: Tensor | int) -> Tensor:
        return (least + chance[1] * (most + 1 - least)).long()

    below = role < (arity + 1) // 2 + (arity % 2 == 0)  # the lower half, the middle left out
    value = torch.where(below, between(0, low), between(high, DIGITS - 1))
    value = torch.where(role == 0, low, torch.where((role == 1) & (arity % 2 == 0), high, value))
    matter = (value == low) | (value == high)
    for extreme, span in ((MIN, (target, DIGITS - 1)), (MAX, (0, target))):
        here = operator == extreme
        value = torch.where(here, torch.where(role == 0, target, between(*span)), value)
        matter = torch.where(here, value == target, matter)
    here = operator == SM
    value = torch.where(here, between(0, DIGITS - 1), value)
    others = torch.zeros_like(level.value).index_add_(0, parent, value * (role != 0))[parent]
    value = torch.where(here & (role == 0), (target - others) % DIGITS, value)
    return value, torch.where(here, role == 0, matter)


def solve(levels: list[Level]) -> list[Level]:
    """Return the levels with the value of every expression, computed from below."""
    solved = [levels[-1]]
    for level in reversed(levels[:-1]):
        below, size = solved[0], len(level.parent)
        counts = torch.bincount(below.parent * DIGITS + below.value, minlength=size * DIGITS)
        upto = counts.view(size, DIGITS).cumsum(dim=1)
        arity = level.arity[:, None]
        # How many digits hold fewer operands up to themselves: the value of that rank.
        ranks = (0, arity - 1, (arity - 1) // 2, arity // 2)
        ranked = [(upto <= rank).sum(dim=1) for rank in ranks]
        sums = torch.zeros(size, dtype=torch.long).index_add_(0, below.parent, below.value)
        found = torch.stack((ranked[0], ranked[1], (ranked[2] + ranked[3]) // 2, sums % DIGITS))
        value = found.gather(0, level.operator.clamp(min=0)[None]).squeeze(0)
        solved.insert(0, replace(level, value=value.where(level.operator >= 0, level.value)))
    return solved


def select(levels: list[Level], keep: Bool[Tensor, " T"]) -> list[Level]:
    """Return the expressions that are to be kept, numbered anew."""
    number = above = keep.cumsum(dim=0) - 1
    selected = []
    for level in levels:
        kept = keep[level.tree]
        parts = (value[kept] for value in (level.operator, level.arity, level.value))
        selected.append(Level(number[level.tree[kept]], above[level.parent[kept]], *parts))
        above = kept.cumsum(dim=0) - 1
    return selected


def measure(levels: list[Level]) -> list[Tensor]:
    """Return how many tokens every node is written in, level by level."""
    sizes = [torch.ones_like(levels[-1].parent)]
    for level, below in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        size = 1 + (level.operator >= 0).long()
        sizes.insert(0, size.index_add_(0, below.parent, sizes[0]))
    return sizes


def write(levels: list[Level], longest: int) -> Int[Tensor, "T N"]:
    """Return the tokens of expressions that are no longer than `longest`, padded to that."""
    sizes = measure(levels)
    tokens = torch.zeros(len(sizes[0]), longest, dtype=torch.long)
    begin = torch.zeros_like(sizes[0])
    for depth, (level, size) in enumerate(zip(levels, sizes, strict=True)):
        if depth:
            before = size.cumsum(dim=0) - size
            first = levels[depth - 1].below()[1][level.parent]
            begin = begin[level.parent] + 1 + before - before[first]
        nested = level.operator >= 0
        symbol = torch.where(nested, FIRST_OPERATOR + level.operator, FIRST_DIGIT + level.value)
        tokens[level.tree, begin] = symbol
        tokens[level.tree[nested], (begin + size - 1)[nested]] = CLOSE
    return tokens


def bucket(tokens: Int[Tensor, "T N"]) -> Int[Tensor, " T"]:
    """Return the eighth of all expressions to which each belongs, by its content; padding is 0."""
    factors = torch.randint(
        1 << 62, (tokens.shape[1],), generator=seeded("listops", "hash"), dtype=torch.long
    )
    mixed = (tokens * (2 * factors + 1)).sum(dim=1)  # modulo 2^64
    return ((mixed ^ (mixed >> 32)) * 0x9E3779B97F4A7C1 >> 56) % 8


def draw(
    shape: Shape, split: Split, count: int, generator: torch.Generator
) -> tuple[Int[Tensor, "B N"], Int[Tensor, " B"]]:
    """Draw expressions of a split: tokens padded to the longest allowed, and answers."""
    tokens = torch.zeros(count, shape.longest, dtype=torch.long)
    answers = torch.randint(DIGITS, (count,), generator=generator)
    operator = torch.randint(shape.operators, (count,), generator=generator)
    own, empty = torch.tensor(BUCKETS[split]), torch.arange(count)
    while len(empty):
        # Several tries for every place that is still empty; the first that fits takes it.
        place = empty[: MOST // TRIES].repeat_interleave(TRIES)
        if shape.span:
            levels = draw_balanced(shape, operator[place], answers[place], generator)
        else:
            levels = draw_plain(shape, len(place), generator)
        size = measure(levels)[0]
        fits = (size >= shape.shortest) & (size <= shape.longest)
        levels = select(levels, fits)
        written, answer = write(levels, shape.longest), levels[0].value
        mine = torch.isin(bucket(written), own)
        written, answer = written[mine], answer[mine]
        if shape.span:
            place = place[fits][mine]
            first = place.diff(prepend=place.new_tensor([-1])) > 0
            place, written, answer = place[first], written[first], answer[first]
        else:  # any expression may stand anywhere
            place = empty[: len(written)]
        tokens[place], answers[place] = written[: len(place)], answer[: len(place)]
        empty = empty[~torch.isin(empty, place)]
    return tokens, answers


def guess(tokens: list[int], depth: int) -> int:
    """Solve the first `depth` levels of an expression; what is deeper is guessed from GUESSES.

    At depth 0 the root operator alone answers.
    """
    found: list[tuple[int, list[int]]] = []
    for token in tokens:
        if token >= FIRST_OPERATOR and token != CLOSE:
            found.append((token - FIRST_OPERATOR, []))
            continue
        value = token - FIRST_DIGIT
        if token == CLOSE:
            operator, values = found.pop()
            value = apply(operator, values) if len(found) < depth else GUESSES[operator]
        if not found:
            return value
        found[-1][1].append(value)
    raise ValueError("the expression does not end")


def apply(operator: int, values: list[int]) -> int:
    """Return what an operator makes of its operands."""
    ordered, count = sorted(values), len(values)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) // 2
    return (ordered[0], ordered[-1], middle, sum(values) % DIGITS)[operator]
