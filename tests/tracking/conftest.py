"""What the tests of the index share."""

from pathlib import Path

import pytest

from cab.tracking.connection import Tracking
from cab.tracking.index import index


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, to copy: MLflow takes seconds to set one up."""
    tracking = Tracking.of_store(tmp_path_factory.mktemp("empty"))
    index([], tracking)
    return Path(tracking.uri.removeprefix("sqlite:///"))
