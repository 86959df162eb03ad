"""MLflow beside a run: a server that is down, none at all, and MLflow's own pages on a store."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cli_support import cab, cab_here, environment, make_record, wait_until

from cab.records.store import CurvePoint, RecordStore

DEAD = "http://127.0.0.1:9"


def test_without_tracking_there_is_no_database(tmp_path: Path) -> None:
    run = ("run", "--profile", "smoke", "--variant", "none", "--task", "mqar")
    store = tmp_path / "store"
    said = cab_here(*run, "--tracking", "none", "--tracking-uri", DEAD, "--store", store)
    assert said.code == 0
    assert "MLflow" not in said.err
    assert {path.name for path in store.iterdir()} == {"records", "locks"}


@pytest.mark.slow
def test_a_server_that_is_down_delays_nothing_for_long_and_is_said(tmp_path: Path) -> None:
    run = ("run", "--profile", "smoke", "--variant", "none", "--task", "mqar", "--json")
    started = time.monotonic()
    said = cab(*run, "--tracking-uri", DEAD, cwd=tmp_path, timeout=90)
    assert time.monotonic() - started < 45
    assert said.code == 0
    assert said.document["cells"][0]["status"] == "ok"
    assert "MLflow took no record" in said.err
    assert "run `cab index` to index the rest." in " ".join(said.err.split())
    assert len(said.err.splitlines()) < 8
    # And `cab index` itself says so, without a traceback.
    started = time.monotonic()
    again = cab("index", "--tracking-uri", DEAD, cwd=tmp_path, timeout=90)
    assert time.monotonic() - started < 45
    assert again.code == 2
    assert DEAD.removeprefix("http://") in again.err
    assert "Traceback" not in again.err
    assert cab("index", "--json", cwd=tmp_path).document["added"] == 1


def ask(address: str, **question: Any) -> Any:
    """POST a question, or GET where there is none."""
    body = json.dumps(question).encode() if question else None
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.mark.slow
def test_mlflow_ui_shows_parameters_curves_and_artifacts(tmp_path: Path) -> None:
    curve = (CurvePoint(step=1, loss=3.0), CurvePoint(step=4, loss=2.0, valid={"accuracy": 0.5}))
    record = make_record(curve=curve, options={"window": 8})
    RecordStore(tmp_path).write(record)
    assert cab_here("index", "--store", tmp_path).code == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, *where],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    root = f"http://127.0.0.1:{port}"
    interface = f"{root}/api/2.0/mlflow"

    def answers() -> bool:
        try:
            return bool(urllib.request.urlopen(f"{root}/health", timeout=5).read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    try:
        assert wait_until(answers, 60)
        experiments = ask(f"{interface}/experiments/search", max_results=100)["experiments"]
        ours = [one["experiment_id"] for one in experiments if one["name"] == "cab/quick/mqar"]
        found = ask(f"{interface}/runs/search", experiment_ids=ours)["runs"]
        tags = [{one["key"]: one["value"] for one in run["data"]["tags"]} for run in found]
        assert len(found) == 2  # the cell, and the command that ran it
        ((run, tag),) = [pair for pair in zip(found, tags, strict=True) if "cab.key" in pair[1]]
        assert tag["cab.key"] == record.key
        params = {one["key"]: one["value"] for one in run["data"]["params"]}
        assert params["variant.window"] == "8"
        run_id = run["info"]["run_id"]
        history = ask(f"{interface}/metrics/get-history?run_id={run_id}&metric_key=train_loss")
        points = [(point["step"], point["value"]) for point in history["metrics"]]
        assert points == [(1, 3.0), (4, 2.0)]
        listed = ask(f"{interface}/artifacts/list?run_id={run_id}")["files"]
        assert [one["path"] for one in listed] == ["record.json"]
        page = f"{root}/get-artifact?run_id={run_id}&path=record.json"
        with urllib.request.urlopen(page, timeout=10) as answer:
            assert answer.read().decode() == record.to_json()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
