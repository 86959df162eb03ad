"""Orders in which a scan visits the tokens of a picture, as lists of tokens in raster order."""

Route = list[int]


def snake(rows: int, columns: int) -> tuple[Route, Route]:
    """Return the rows in turn, every second one backwards, and the columns likewise."""
    along = [
        (r, c if r % 2 == 0 else columns - 1 - c) for r in range(rows) for c in range(columns)
    ]
    down = [(r if c % 2 == 0 else rows - 1 - r, c) for c in range(columns) for r in range(rows)]
    return _tokens(along, columns), _tokens(down, columns)


def diagonals(rows: int, columns: int) -> tuple[Route, Route]:
    """Return the antidiagonals in turn, every second one backwards, and their mirror image."""
    places = []
    for total in range(rows + columns - 1):
        one = [(r, total - r) for r in range(rows) if 0 <= total - r < columns]
        places += one if total % 2 else one[::-1]
    mirrored = [(r, columns - 1 - c) for r, c in places]
    return _tokens(places, columns), _tokens(mirrored, columns)


def spirals(rows: int, columns: int) -> tuple[Route, Route]:
    """Return the clockwise spiral from the first token inwards, and its image upside down."""
    left = {(r, c) for r in range(rows) for c in range(columns)}
    place, step, places = (0, 0), (0, 1), []
    while left:
        places.append(place)
        left.discard(place)
        ahead = place[0] + step[0], place[1] + step[1]
        if ahead not in left:
            step = step[1], -step[0]
            ahead = place[0] + step[0], place[1] + step[1]
        place = ahead
    flipped = [(rows - 1 - r, c) for r, c in places]
    return _tokens(places, columns), _tokens(flipped, columns)


def raster(rows: int, columns: int) -> tuple[Route, Route]:
    """Return the rows in turn, and the columns in turn."""
    along = [(r, c) for r in range(rows) for c in range(columns)]
    down = [(r, c) for c in range(columns) for r in range(rows)]
    return _tokens(along, columns), _tokens(down, columns)


def _tokens(places: list[tuple[int, int]], columns: int) -> Route:
    return [r * columns + c for r, c in places]
