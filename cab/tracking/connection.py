"""Where the index is, and how it is opened: by one process at a time, without a long wait."""

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cab.errors import CabError
from cab.records.files import whole
from cab.records.text import one_line, tidy

STORE_TAG = "cab.store"

LOCK_WAIT = 600.0
"""Seconds to wait for another process that indexes the same store."""
_DATABASE = re.compile(r"(sqlite|postgresql|mysql|mssql)(\+\w+)?:")
_DATABASE_TRIES = 3
"""MLflow tries to open a database ten times, which takes it 100 seconds."""


class IndexFailed(CabError):
    """MLflow cannot be used: `reason` says where and why, `indexed` counts the records it took."""

    def __init__(self, reason: str, indexed: int, total: int) -> None:
        self.reason, self.indexed = reason, indexed
        super().__init__(
            f"{reason}. {indexed} of {total} records were indexed; all are kept in the store; run "
            "`cab index` again once MLflow can be used."
        )


@dataclass(frozen=True)
class Tracking:
    """Where the index is: an MLflow tracking URI, and the folder of its artifacts.

    shared: it may hold more than this store's runs.
    """

    uri: str
    artifacts: Path
    lock: Path
    shared: bool = False

    @classmethod
    def of_store(cls, root: Path, uri: str | None = None) -> "Tracking":
        """The index of a store: <root>/mlflow.db unless a tracking URI is given."""
        root = root.resolve()
        return cls(
            uri or sqlite_address(root / "mlflow.db"),
            root / "artifacts",
            root / "mlflow.lock",
            shared=uri is not None,
        )

    @property
    def shown(self) -> str:
        """The URI as messages show it, without a password."""
        return tidy(_without_password(self.uri))

    @property
    def local(self) -> bool:
        """Whether it is a file on this machine, whose artifacts lie beside it."""
        return self.uri.startswith("sqlite")

    def marks(self) -> dict[str, str]:
        """The tags that tell this store's runs from others; none if there are no others.

        Raises:
            CabError: the file that keeps the store's mark is damaged.
        """
        if not self.shared:
            return {}
        path = self.lock.with_name("store-id")
        mark = path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
        if not mark:
            mark = uuid.uuid4().hex
            with whole(path) as beside:
                beside.write_text(mark + "\n", encoding="utf-8")
        if not re.fullmatch(r"[\w-]{1,100}", mark):
            raise CabError(
                f"{path} is damaged: it should hold one word of letters and digits, which marks "
                "this store's runs in MLflow. Restore it, or delete it to index the store anew."
            )
        return {STORE_TAG: mark}


def sqlite_address(path: Path) -> str:
    """The tracking URI of a database file, whatever characters its path has.

    Raises:
        CabError: the installed SQLAlchemy cannot open such a path.
    """
    text = path.as_posix()
    if re.fullmatch(r"[\w/.,:=@+~ -]*", text):
        return f"sqlite:///{text}"
    from sqlalchemy.engine import make_url
    from sqlalchemy.engine.url import URL

    # With the driver named, MLflow does not make a folder of the quoted name.
    address = URL.create("sqlite+pysqlite", database=text).render_as_string()
    if make_url(address).database != text:
        raise CabError(
            f"The MLflow index cannot be opened at {tidy(text)!r}: the installed SQLAlchemy does "
            "not read such a path. Rename the store's folder, or use --tracking none."
        )
    return address


@contextlib.contextmanager
def locked(tracking: Tracking) -> Iterator[None]:
    """Keep other processes out: MLflow's migrations race on an empty database."""
    lock = FileLock(tracking.lock)
    try:
        tracking.lock.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_WAIT)
    except Timeout:
        raise CabError(
            f"Another process has been indexing {tracking.lock.parent} for {LOCK_WAIT:g} seconds. "
            "Run `cab index` when it has finished."
        ) from None
    except OSError as error:
        raise CabError(f"{tracking.lock.parent} cannot be written: {error}.") from None
    try:
        yield
    finally:
        lock.release()


def is_general(error: BaseException | None) -> bool:
    """Whether an error would meet any other record too: a full disk, a locked database."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return True
        if getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
            return True
        if type(error).__name__ == "OperationalError":  # of the database's driver or SQLAlchemy
            return True
        error = error.__cause__ or error.__context__
    return False


def reason_of(error: BaseException) -> str:
    """Why MLflow failed, in one line without a final full stop and without a password."""
    text = re.sub(r"^\(raised as a result of [^\n]*\n", "", str(error).strip())
    text = _without_password(re.sub(r"^\([\w.]+\) ", "", text))
    if "Max retries exceeded" in text:  # the whole text repeats the address three times
        cause = re.search(r"\[Errno -?\d+\] [\w ]+|too many \d+ error responses|timed out", text)
        return "the server does not answer" + (f" ({cause[0]})" if cause else "")
    return one_line(text) or type(error).__name__


def _without_password(text: str) -> str:
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", text)


def connect(tracking: Tracking) -> Any:
    """Return a client of the index that gives up on a dead server or database within seconds."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # With a server MLflow prints the address of every run on stdout, where results belong.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")
    import logging

    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # MLflow logs a failing database's whole trace as an error; the sentence says what it was.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if _DATABASE.match(tracking.uri):
        from mlflow.store.db import utils

        # MLflow has no setting for it.
        tries = getattr(utils, "MAX_RETRY_COUNT", _DATABASE_TRIES)
        utils.MAX_RETRY_COUNT = min(tries, _DATABASE_TRIES)
    return MlflowClient(tracking_uri=tracking.uri)
