"""Rows of `cab bench` beside the document that pytest-benchmark writes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cab.measure.pytest_benchmarks import rows_of
from cab.measure.record import write_rows


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """Write the rows of `--benchmark-json=NAME.json` to NAME.jsonl."""
    target = config.getoption("benchmark_json")
    if target is not None:
        write_rows(
            rows_of(output_json, torch.get_num_threads()),
            Path(target).with_suffix(".jsonl"),
        )
