"""Texts that come from files and from other people's code, made safe to print and to store."""

import re

CUT = " ... (cut)"

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, with which escape sequences begin
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these turn the direction of what follows
    "\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # these cannot be seen
    "\u2028\u2029"  # ends of lines for some readers
    "\ud800-\udfff"  # halves of characters, which no encoding can write
    "\U000e0000-\U000e007f"
    "]"
)


def is_safe(text: str) -> bool:
    """Whether a text holds nothing that changes how a terminal or a page shows the rest."""
    return not _UNSAFE.search(text)


def tidy(text: str) -> str:
    """Replace what is not safe to print, each character by U+FFFD; newlines and tabs stay."""
    return _UNSAFE.sub("\ufffd", text)


def clean(text: str, limit: int) -> str:
    """Make a text `tidy`, and cut it to so many characters, with a mark, if it is longer."""
    text = tidy(text[: 2 * limit].replace("\r\n", "\n"))
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def text_of(error: Exception, limit: int) -> str:
    """What an exception says, made `clean`; it may be anybody's, and fail at saying it."""
    try:
        text = str(error)
    except Exception:
        text = "its message cannot be read"
    return clean(text, limit)


def one_line(text: str, limit: int = 300) -> str:
    """Return the first line of a text without its final full stop, to stand inside a sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = tidy(lines[0]).replace("\t", " ").rstrip(". ") if lines else ""
    return first if len(first) <= limit else first[:limit] + " ..."
