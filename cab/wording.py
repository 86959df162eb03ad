"""Words for numbers in messages."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right form: "1 cell", "2 cells"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
