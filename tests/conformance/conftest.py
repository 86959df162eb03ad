"""`make prove` renews the ledger of law checks with the tests of this folder."""

import pytest
from law_ledger import Present, Writer, use
from support import VARIANTS


def pytest_configure(config: pytest.Config) -> None:
    """Write what passes where the environment asks for it; workers report to this process."""
    if use() == "write" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Writer(Present(VARIANTS)))
