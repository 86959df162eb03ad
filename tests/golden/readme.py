"""Write the README's table of tasks from the cards. Run it after a card has changed."""

from pathlib import Path

from cab.registry import discover_tasks
from cab.taxonomy import Domain, Pattern, TaskCard

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- tasks: written by tests/golden/readme.py -->\n", "<!-- end of tasks -->\n"
DOMAINS = (Domain.LONG_RANGE, Domain.RETRIEVAL, Domain.VISION, Domain.SPEECH)


def table() -> str:
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


def written(text: str) -> str:
    """Return the README's text with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
