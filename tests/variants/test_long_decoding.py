"""Every variant with a decode state of constant size answers 4,096 tokens in constant memory."""

import json
import subprocess
import sys

import pytest
from support import HELPERS


@pytest.mark.slow
def test_4096_tokens_are_decoded_in_the_constant_memory_that_the_card_states():
    script = HELPERS / "long_decoding.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=600
    )
    seen = json.loads(done.stdout)
    assert {"linear", "window", "gated-deltanet", "mamba2"} <= seen.keys()
    wrong = {
        name: one
        for name, one in seen.items()
        if not one["finite"]
        or len(set(one["held"].values())) > 1
        or len(set(one["peak"].values())) > 1
        or one["held"]["4096"] != pytest.approx(one["stated"])
    }
    assert not wrong
