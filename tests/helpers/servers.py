"""Real servers for tests: PostgreSQL as nobody of importance, and MLflow before it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cli_support import environment, wait_until


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def postgres_binary(name: str) -> str | None:
    """Where a program of PostgreSQL is; Debian keeps them off the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a database cluster of its own in a temporary folder; yield its URI.

    PostgreSQL refuses to run as root, so root runs it as `nobody`.
    """
    initdb, control = postgres_binary("initdb"), postgres_binary("pg_ctl")
    assert initdb is not None
    assert control is not None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cab-postgres-") as folder:
        data = Path(folder, "data")
        prefix = []
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

        def run(*words: object) -> None:
            done = subprocess.run(
                [*prefix, *map(str, words)], cwd=folder, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr

        run(initdb, "--pgdata", data, "--username=cab", "--auth=trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run(control, "start", "--pgdata", data, "--wait", "-l", Path(folder, "log"), "-o", options)
        try:
            yield f"postgresql+psycopg://cab@127.0.0.1:{port}/postgres"
        finally:
            run(control, "stop", "--pgdata", data, "--mode=immediate")


class MlflowServer:
    """`mlflow server` on the loopback, which may be killed and started again."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder, self._backend = folder, backend
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        where += ["--artifacts-destination", str(self._folder / "artifacts")]
        where += ["--backend-store-uri", self._backend]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where],
            cwd=self._folder,
            # Its workers for jobs are six more processes, which nothing here needs.
            env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
            stdout=(self._folder / "server.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert wait_until(self._answers, 180), (self._folder / "server.log").read_text()

    def _answers(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.uri}/health", timeout=5).read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def kill(self) -> None:
        """Kill it and all its workers at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
