"""What differs between two commits, asked of Git."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cab.errors import CabError


@dataclass(frozen=True)
class Change:
    """One changed path: Git's letter for the change, and the mode of what is there now."""

    letter: str
    mode: str
    path: str
    former: str = ""

    @property
    def removed(self) -> str:
        """The path at which there is nothing any more, if there is one."""
        return self.path if self.letter == "D" else self.former


@dataclass(frozen=True)
class Git:
    """Questions to a repository."""

    folder: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Call git; its failure is left to the caller."""
        try:
            return subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True)
        except OSError as error:
            raise CabError(f"git cannot be run in {self.folder}: {error}.") from None

    def text(self, *arguments: str) -> str:
        """What git prints; a path that is not UTF-8 keeps its bytes.

        Raises:
            CabError: git fails.
        """
        done = self.run(*arguments)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise CabError(f"git {' '.join(arguments)} failed: {said or 'no common ancestor'}.")
        return os.fsdecode(done.stdout)

    def changes(self, start: str) -> Iterator[Change]:
        """What differs between a commit and HEAD, symbolic links and deletions included."""
        words = iter(
            self.text(
                *("diff", "--raw", "-z", "--no-ext-diff", "--find-renames", start, "HEAD")
            ).split("\0")[:-1]
        )
        for word in words:
            _, mode, _, _, letter = word.split(" ")
            path = next(words)
            if letter[0] == "R":
                yield Change("R", mode, next(words), path)
            else:
                yield Change(letter[0], mode, path)

    def content(self, commit: str, path: str) -> bytes:
        """A file as it was; nothing if it was not there."""
        return self.run("show", f"{commit}:{path}").stdout

    def added_lines(self, start: str, path: str) -> str:
        """The lines that a file gained."""
        lines = self.text(
            "diff", "--no-ext-diff", "--no-color", start, "HEAD", "--", path
        ).splitlines()
        return "\n".join(one for one in lines if one.startswith("+") and not one.startswith("+++"))


def shown(path: str) -> str:
    """A path in one printable line."""
    return path if path.isprintable() and path.isascii() else ascii(path)
