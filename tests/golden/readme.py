"""Write the tables of README.md and docs/ from the cards, the glossary and the published results.

Run it after a card or the glossary has changed, or after results were published.
"""

from pathlib import Path

from published_settings import CAB, LRA, forecasting, table

from cab.commands.common.boards import load_board
from cab.errors import CabError
from cab.registry import discover_tasks
from cab.scores.report import interval_text, to_markdown
from cab.site.content import gather
from cab.site.findings import findings_of, judged
from cab.site.glossary import GLOSSARY
from cab.site.kernels import PASSES, kernel_tables
from cab.taxonomy import Domain, Pattern, TaskCard

REPOSITORY = Path(__file__).resolve().parents[2]
DOMAINS = (Domain.LONG_RANGE, Domain.RETRIEVAL, Domain.VISION, Domain.SPEECH)
ROWS = 9
"""How many of the board's rows are shown."""
LENGTHS = (1024, 4096)
"""The lengths at which times are shown."""


def tasks() -> str:
    """Return the tasks of a row as a grid of pattern and domain; a star marks uncertified ones."""
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
                if card.domain == domain and card.pattern == pattern and card.in_row("quick")
            )
            for pattern in Pattern
        ]
        lines.append(f"| {domain.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _named(card: TaskCard) -> str:
    real = " (real recordings)" if card.data else ""
    pending = "" if card.scored_in("quick") else " \\*"
    return f"`{card.name}`{pending}{real}"


def glossary() -> str:
    """Return the glossary as a list."""
    return "".join(f"- **{word}**: {definition}.\n" for word, definition in GLOSSARY)


def findings() -> str:
    """Return what the published board says, as a list."""
    content = gather(REPOSITORY / "results")
    return "".join(f"- {one}\n" for one in findings_of(content, content.profiles[0]))


def gate() -> str:
    """Return how the published entries meet the conditions of `cab reliability`."""
    content = gather(REPOSITORY / "results")
    found = judged(content, content.profiles[0])
    words = {True: "holds", False: "**fails**", None: "not decided"}
    lines = ["| condition | found | required | |", "|---|---|---|---|"]
    lines += [
        f"| {one.name} | {one.found} | {one.required} | {words[one.holds]} |"
        for one in found.findings
    ]
    return "\n".join(lines) + "\n"


def board() -> str:
    """Return the first rows of the published board."""
    try:
        published, _, _ = load_board(REPOSITORY / "results", None, "quick")
    except CabError:
        return "No results of the present versions of the tasks are published yet.\n"
    return to_markdown(published, ROWS)


def costs() -> str:
    """Return forward times and scores in CS of the entries that have both.

    The times are those of the machine with the most measurements.
    """
    content = gather(REPOSITORY / "results")
    machine = kernel_tables(content.kernels, content.reference)[0]
    start = f"cs, {PASSES['fwd_no_grad']}: milliseconds"
    table = next(t for t in machine.tables if t.title.startswith(start))
    rows = {row.entry: row for row in content.profiles[0].board.rows if Pattern.CS in row.patterns}
    lines = [
        "| entry | score in cs | "
        + " | ".join(f"ms at {length:,}" for length in LENGTHS)
        + " | "
        + " | ".join(f"cheaper than {one} from" for one in table.baselines)
        + " |",
        "|---" * (2 + len(LENGTHS) + len(table.baselines)) + "|",
    ]
    for entry in (*table.baselines, *sorted(table.crossings)):
        if entry not in rows:
            continue
        row = rows[entry]
        name = f"{entry} ({row.size_mark})" if row.size_mark else entry
        own = [table.series[entry].get(length) for length in LENGTHS]
        times = [f"{c.value:.3g} [{c.low:.3g}, {c.high:.3g}]" if c else "" for c in own]
        found = table.crossings.get(entry, {})
        froms = [found[one].brief() if one in found else "" for one in table.baselines]
        cells = [name, interval_text(row.patterns[Pattern.CS]), *times, *froms]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nMeasured on {machine.host}.\n"


BLOCKS = {
    "README.md": {"glossary": glossary, "board": board, "findings": findings},
    "docs/reliability.md": {"gate": gate},
    "docs/costs.md": {"costs": costs},
    "docs/published.md": {
        "cab": lambda: table(CAB),
        "lstf": forecasting,
        "lra": lambda: table(LRA),
    },
    "docs/tasks.md": {"tasks": tasks},
}
"""The generated blocks of each file."""


def marks(name: str) -> tuple[str, str]:
    """Return the lines before and after a block."""
    return f"<!-- {name}: written by tests/golden/readme.py -->\n", f"<!-- end of {name} -->\n"


def written(file: str, text: str) -> str:
    """Return a file's text with its blocks written anew."""
    for name, write in BLOCKS[file].items():
        begin, end = marks(name)
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{write()}\n{end}{after}"
    return text


if __name__ == "__main__":
    for file in BLOCKS:
        path = REPOSITORY / file
        path.write_text(written(file, path.read_text(encoding="utf-8")), encoding="utf-8")
