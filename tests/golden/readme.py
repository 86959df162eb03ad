"""Write the README's tables from the cards and from the published results.

Run it after a card has changed or results were published.
"""

from pathlib import Path

from cab.commands.boards import load_board
from cab.registry import discover_tasks
from cab.scores.report import to_markdown
from cab.taxonomy import Domain, Pattern, TaskCard

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
DOMAINS = (Domain.LONG_RANGE, Domain.RETRIEVAL, Domain.VISION, Domain.SPEECH)
ROWS = 12
"""How many of the board's rows are shown."""


def tasks() -> str:
    """Return the scored tasks as a grid of pattern and domain, and the names of the others."""
    cards = discover_tasks().cards()
    lines = [
        "| | " + " | ".join(f"`{pattern}`" for pattern in Pattern) + " |",
        "|---" * (1 + len(Pattern)) + "|",
    ]
    for domain in DOMAINS:
        cells = [
            "<br>".join(
                _named(card)
                for card in cards
                if card.domain == domain and card.pattern == pattern and card.scored_in("quick")
            )
            for pattern in Pattern
        ]
        lines.append(f"| {domain.replace('_', ' ')} | " + " | ".join(cells) + " |")
    others = ", ".join(f"`{card.name}`" for card in cards if not card.scored_in("quick"))
    return "\n".join(lines) + f"\n\nShown, and not scored in `quick`: {others}.\n"


def _named(card: TaskCard) -> str:
    real = " (real recordings)" if card.data else ""
    return f"`{card.name}`{real}"


def board() -> str:
    """Return the first rows of the published board."""
    published, _, _ = load_board(REPOSITORY / "results", None, "quick")
    return to_markdown(published, ROWS)


BLOCKS = {"tasks": tasks, "board": board}


def marks(name: str) -> tuple[str, str]:
    """Return what stands before and after a block."""
    return f"<!-- {name}: written by tests/golden/readme.py -->\n", f"<!-- end of {name} -->\n"


def written(text: str) -> str:
    """Return the README's text with every block in its place."""
    for name, write in BLOCKS.items():
        begin, end = marks(name)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{write()}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
