"""Two long dashed paths among short ones, and two discs, which may lie on the same path.

The question and its sizes are those of Pathfinder (Linsley et al., 2018, arXiv 1805.08315) as
Long Range Arena uses it (Tay et al., 2020, arXiv 2011.04006). The generator is new: all images
of a batch grow in parallel, dash by dash, and it avoids two faults of the published one. There the
first path begins within a pixel of the centre of every image, and the distance of the discs gives
hints at the answer. Here the first path begins anywhere, and a picture gets its two
discs with an answer drawn by a fair coin, from two pairs of ends that are equally far apart.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TURNS = 12
"""Directions that are tried for a dash."""
ROUNDS = 512
"""Pictures that are grown at a time."""
BLIND = 0.002
"""The weight of a direction that leads nowhere from the next dash on, against 1."""
NOWHERE = -1e3
"""Where a dash is that is not drawn."""


@dataclass(frozen=True)
class Paths:
    """Sizes in pixels, and dashes per path.

    A path's dashes of length `dash` and width `thick` are `gap` apart and turn by an angle a with
    the weight cos(stiff a)^2; paths keep `clear` from each other, and begin `near` each other.
    The distances of the two pairs of ends differ by up to `alike`.
    """

    side: int
    dashes: int
    dash: float
    gap: float
    thick: float
    clear: float
    near: float
    disc: float
    alike: float
    distractors: int
    distractor_dashes: int
    stiff: float = 1.0
    shade: float = 0.75

    def __post_init__(self) -> None:
        if self.clear > self.dash + 2 * self.gap - 1:
            raise ValueError("a path would stand in its own way: clear <= dash + 2 gap - 1")


class Canvas:
    """B pictures being drawn: where no dash may go, and all dashes so far.

    taken (B, side, side) holds 0 where a dash may go, 1 where none may, and the number of a path
    (2, 3, ...) where all may not but this one: around its last dash, from which it goes on.
    Dashes are kept as begin and end (B, 2), in x and y.
    """

    def __init__(self, paths: Paths, count: int, generator: torch.Generator) -> None:
        self.paths, self.generator = paths, generator
        self.taken = torch.zeros(count, paths.side, paths.side, dtype=torch.uint8)
        self.dashes: list[tuple[Tensor, Tensor]] = []
        steps = math.ceil(paths.dash) + 1
        self.along = torch.linspace(0, 1, steps)[:, None, None, None]
        reach = math.floor(paths.clear)
        offsets = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
        self.around = offsets[offsets.square().sum(dim=1) <= paths.clear**2][:, None, None, None]

    def keep(self, keep: Bool[Tensor, " B"]) -> None:
        """Go on with some of the pictures."""
        self.taken = self.taken[keep]
        self.dashes = [(begin[keep], end[keep]) for begin, end in self.dashes]

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers from 0 to 1."""
        return torch.rand(shape, generator=self.generator)

    def free(
        self, begin: Float[Tensor, "B C 2"], end: Float[Tensor, "B C 2"], number: int = 0
    ) -> Bool[Tensor, "B C"]:
        """Whether a dash of path `number` would be in the picture and clear of all others."""
        points = begin + self.along * (end - begin)
        first, last, edge = points[0], points[-1], self.paths.disc
        inside = (first >= edge) & (first <= self.paths.side - edge)
        inside &= (last >= edge) & (last <= self.paths.side - edge)
        taken = self.taken.take(self.pixel(points))
        clear = ((taken == 0) | (taken == number)).all(dim=0)
        return clear & inside[..., 0] & inside[..., 1]

    def take(
        self, begin: Float[Tensor, "B 2"], end: Float[Tensor, "B 2"], number: int = 1
    ) -> None:
        """Keep all that is within `clear` of a dash from the paths that are not `number`."""
        points = begin[:, None] + self.along * (end - begin)[:, None]
        pixel = self.pixel(points.trunc() + self.around)
        if number == 1:
            self.taken.view(-1).index_fill_(0, pixel.flatten(), number)
        else:
            before = self.taken.take(pixel)
            self.taken.put_(pixel, before.masked_fill_(before == 0, number))

    def pixel(self, place: Float[Tensor, "*K B C 2"]) -> Int[Tensor, "*K B C"]:
        """The number of a pixel in all pictures; a place outside of its picture is at the edge."""
        side = self.paths.side
        column, row = place.clamp(0, side - 1).trunc_().unbind(dim=-1)
        first = side**2 * torch.arange(place.shape[-3])[:, None]
        return torch.add(column, row, alpha=side).long().add_(first)


class Path:
    """One growing path in each of B pictures: its first point, and where it is and heads."""

    def __init__(self, canvas: Canvas, begin: Float[Tensor, "B 2"], number: int) -> None:
        self.canvas, self.number, self.origin, self.tip = canvas, number, begin, begin
        self.heading = 2 * math.pi * canvas.rand(len(begin))
        self.going = torch.ones(len(begin), dtype=torch.bool)
        self.waiting: tuple[Tensor, Tensor] | None = None

    def grow(self) -> None:
        """Add a dash in a random free direction; a path without one ends where it is."""
        canvas, paths = self.canvas, self.canvas.paths
        first = self.waiting is None
        spread = math.pi if first else math.pi / 2
        turn = spread * (2 * canvas.rand(len(self.tip), TURNS) - 1)
        weight = (paths.stiff * turn).clamp(-math.pi / 2, math.pi / 2).cos().square()
        weight = torch.ones_like(weight) if first else weight
        angle = self.heading[:, None] + turn
        way = torch.stack((angle.cos(), angle.sin()), dim=-1)
        begin = self.tip[:, None] + (0.0 if first else paths.gap) * way
        end = begin + paths.dash * way
        # Where the dash after it could go straight on, too, a path seldom ends too soon.
        ahead = canvas.free(end, end + (paths.gap + paths.dash) * way, self.number)
        weight = weight * canvas.free(begin, end, self.number) * (ahead + BLIND)
        # The first of exponential clocks is a draw with these weights.
        best, choice = (weight / -canvas.rand(*weight.shape).log()).max(dim=1)
        self.going &= best > 0
        here, going = torch.arange(len(choice)), self.going[:, None]
        begin, end = (x[here, choice].where(going, NOWHERE) for x in (begin, end))
        # A path does not stand in its own way: only its dashes before the last one do.
        if self.waiting is not None:
            canvas.take(*self.waiting)
        canvas.take(begin, end, self.number)
        canvas.dashes.append((begin, end))
        self.waiting, self.tip = (begin, end), end
        self.heading = angle[here, choice]

    def keep(self, keep: Bool[Tensor, " B"]) -> None:
        """Go on in some of the pictures."""
        self.origin, self.tip, self.heading, self.going = (
            part[keep] for part in (self.origin, self.tip, self.heading, self.going)
        )
        if self.waiting is not None:
            self.waiting = (self.waiting[0][keep], self.waiting[1][keep])

    def end(self) -> None:
        """Keep its last dash clear, too."""
        if self.waiting is not None:
            self.canvas.take(*self.waiting)


def grow(
    paths: Paths, count: int, generator: torch.Generator
) -> tuple[Canvas, Float[Tensor, "B 2 2"], Float[Tensor, "B 2 2"]]:
    """Grow two paths and the distractors in up to `count` pictures: origins and tips of the two.

    A picture in which one of the two does not reach its length is left out. A distractor may be
    shorter.
    """
    canvas = Canvas(paths, count, generator)
    room, here = paths.side - 2 * paths.disc, torch.arange(count)
    start = paths.disc + room * canvas.rand(count, 2)
    angle = 2 * math.pi * canvas.rand(count, TURNS)
    places = start[:, None] + paths.near * torch.stack((angle.cos(), angle.sin()), dim=-1)
    other = places[here, canvas.free(places, places).long().argmax(dim=1)]
    one, two = Path(canvas, start, 2), Path(canvas, other, 3)
    for dash in range(1, paths.dashes + 1):
        one.grow()
        two.grow()
        if dash % 2 == 0 or dash == paths.dashes:  # those that failed cost no more time
            keep = one.going & two.going
            for part in (canvas, one, two):
                part.keep(keep)
    one.end()
    two.end()
    here = torch.arange(len(canvas.taken))
    for _ in range(paths.distractors):
        places = paths.disc + room * canvas.rand(len(here), TURNS, 2)
        free = canvas.free(places, places)
        short = Path(canvas, places[here, free.long().argmax(dim=1)], 4)
        for _ in range(paths.distractor_dashes):
            short.grow()
        short.end()
    ends = ((one.origin, two.origin), (one.tip, two.tip))
    return canvas, *(torch.stack(points, dim=1) for points in ends)


def paint(
    side: int,
    begin: Float[Tensor, "B K 2"],
    end: Float[Tensor, "B K 2"],
    radius: float,
    shade: float,
) -> Float[Tensor, "B h w"]:
    """Paint strokes of a radius, their edges a pixel soft; the brightest of them is seen."""
    longest = (end - begin).norm(dim=-1).amax().item() if begin.numel() else 0.0
    reach = math.ceil(longest / 2 + radius) + 1
    offsets = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
    pixel = ((begin + end) / 2).trunc() + offsets[:, None, None]
    from_begin = pixel + 0.5 - begin
    way = end - begin
    length = way.square().sum(dim=-1).clamp(min=1e-9)
    share = ((from_begin * way).sum(dim=-1) / length).clamp(0, 1)
    distance = (from_begin - share[..., None] * way).norm(dim=-1)
    seen = ((pixel >= 0) & (pixel < side)).all(dim=-1)
    light = shade * (radius + 0.5 - distance).clamp(0, 1) * seen
    column, row = pixel.clamp(0, side - 1).long().unbind(dim=-1)
    picture = torch.zeros(len(begin), side * side)
    place, light = (x.transpose(0, 1).flatten(1) for x in (row * side + column, light))
    picture.scatter_reduce_(1, place, light, "amax")
    return picture.view(-1, side, side)


def draw_once(
    paths: Paths, generator: torch.Generator
) -> tuple[Int[Tensor, "B h w"], Int[Tensor, " B"]]:
    """Draw what becomes of ROUNDS pictures: 0 to 255, and whether the discs share a path."""
    canvas, origins, tips = grow(paths, ROUNDS, generator)
    count = len(origins)
    begins, ends = (torch.stack(points, dim=1) for points in zip(*canvas.dashes, strict=True))
    # Which of the two paths grew first is forgotten.
    swap = (canvas.rand(count) < 0.5)[:, None, None]
    origins, tips = (torch.where(swap, part.flip(1), part) for part in (origins, tips))
    # An origin and a tip: of one path, or of two; pairs that are equally far apart will do.
    far = (origins[:, :, None] - tips[:, None]).norm(dim=-1)
    same = far.diagonal(dim1=1, dim2=2)
    apart = torch.stack((far[:, 0, 1], far[:, 1, 0]), dim=1)
    alike = ((same[:, :, None] - apart[:, None]).abs() <= paths.alike).flatten(1)
    chosen = (alike * canvas.rand(count, 4)).argmax(dim=1)
    answer = canvas.rand(count) < 0.5
    origin = torch.where(answer, chosen // 2, chosen % 2)
    tip = torch.where(answer, origin, 1 - origin)
    here = torch.arange(count)
    discs = torch.stack((origins[here, origin], tips[here, tip]), dim=1)
    good = alike.any(dim=1)
    begins, ends, discs = begins[good], ends[good], discs[good]
    picture = torch.maximum(
        paint(paths.side, begins, ends, paths.thick / 2, paths.shade),
        paint(paths.side, discs, discs, paths.disc, 1.0),
    )
    return (picture * 255).round().to(torch.uint8), answer[good].long()


def draw_pictures(
    paths: Paths, count: int, generator: torch.Generator
) -> tuple[Int[Tensor, "B h w"], Int[Tensor, " B"]]:
    """Draw pictures (B, side, side) from 0 to 255, and answers: 1 if the discs share a path."""
    drawn: list[tuple[Tensor, Tensor]] = []
    while sum(len(answers) for _, answers in drawn) < count:
        drawn.append(draw_once(paths, generator))
    pictures, answers = (torch.cat(parts)[:count] for parts in zip(*drawn, strict=True))
    return pictures, answers
