"""The entry of the `cab` program: it handles Ctrl-C from its first moment on.

It imports nothing that takes long. The commands are imported when it runs.
"""

import atexit
import contextlib
import errno
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from cab.errors import CabError, Interrupted

INTERRUPTED = 130
"""The exit status after Ctrl-C or SIGTERM."""

PATIENCE = 10.0
"""Seconds after which a further Ctrl-C ends the program at once, whatever it still has to end."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, a quota or a limit on the size of files is exhausted."""


class Interruption:
    """Handles Ctrl-C and SIGTERM: the first one raises `Interrupted`, later ones do no harm."""

    def __init__(self) -> None:
        self.importing = False
        self._first: float | None = None
        self._again = False

    @property
    def came(self) -> bool:
        """Whether the program was interrupted."""
        return self._first is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal. While the commands are imported nothing has begun, so it ends here."""
        if self.importing:
            _end_now("Interrupted.")
        now = time.monotonic()
        if self._first is None or self._again:
            self._first, self._again = self._first or now, False
            raise Interrupted
        if now - self._first > PATIENCE:
            _end_now("Ended at once. Finished cells are kept.")

    def unraisable(self, what: Any) -> None:
        """Raise an `Interrupted` once more that Python dropped, as it does in a finaliser."""
        if what.exc_type is not None and issubclass(what.exc_type, Interrupted):
            self._again = True
            # A little later, since what is raised in here is dropped, too.
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            sys.__unraisablehook__(what)


def main() -> None:
    """Run the program; errors that the user can mend exit with 2 and without a traceback."""
    interruption = Interruption()
    _install(interruption)
    interruption.importing = True
    from cab.commands.app import app
    from cab.commands.common import output

    interruption.importing = False
    try:
        _look_for_folder()
        output.prepare()
        try:
            app()
        finally:
            output.flush()
    except (Interrupted, Exception) as error:
        if interruption.came:  # an import that is cut off may raise something else
            reason = str(error) if isinstance(error, Interrupted) else ""
            output.say(f"Interrupted. {reason}".strip())
            sys.exit(INTERRUPTED)
        if (sentence := _sentence(error)) is None:
            raise
        output.fail(sentence)
        sys.exit(2)


def _look_for_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise CabError(
            f"The working directory cannot be found ({error.strerror}); it may have been deleted. "
            f"Change to another folder and rerun the command."
        ) from None


def _sentence(error: BaseException) -> str | None:
    """What to tell the user of an error; None if it is a defect."""
    if isinstance(error, CabError):
        return str(error)
    if isinstance(error, OSError) and error.errno in FULL:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}. Free some space, then rerun the command."
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return (
            "No folder for temporary files can be written. Free some space, or set the "
            "environment variable TMPDIR to a folder that can be written."
        )
    return None


def _end_now(sentence: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, sentence.encode() + b"\n")
    os._exit(INTERRUPTED)


def _install(interruption: Interruption) -> None:
    """Install the handlers; one that is ignored, as in a shell's background, stays ignored."""
    sys.unraisablehook = interruption.unraisable
    numbers = [one for one in SIGNALS if signal.getsignal(one) != signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, interruption.handle)

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    atexit.register(ignore)  # the last moments of Python would put the system's own handler back


if __name__ == "__main__":
    main()
