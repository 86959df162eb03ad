"""The fork server's warm-up makes cells start faster and changes nothing else about them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli_support import environment
from support import HELPERS

LEFT_BEHIND = """
import json, os, resource, sys
import torch, torch._dynamo, cab.running.worker
from accelerate.state import AcceleratorState, GradientState, PartialState

def state():
    return [
        torch.get_num_threads(),
        len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1,
        resource.getrlimit(resource.RLIMIT_DATA),
        [each._shared_state for each in (AcceleratorState, GradientState, PartialState)],
        dict(os.environ),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        str(torch.get_default_dtype()),
        torch.get_rng_state().tolist(),
        [name for name in sys.modules if name.startswith(("cab.variants", "cab.kernels"))],
    ]

before = state()
os.environ["CAB_WARM_UP_MODULES"] = sys.argv[1]
import cab.running.warm_up
print(json.dumps({"before": before, "after": state(), "loaded": "noisy" in sys.modules}))
"""


def python(*arguments: str, **changes: str) -> Any:
    """What a program prints, as JSON."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cells_give_the_same_bits_with_and_without_it() -> None:
    script = str(HELPERS / "warmed_up_cells.py")
    warm, bare = python(script, "yes"), python(script, "no")
    assert len(bare) == 12
    assert {said[0] for said in bare.values()} == {"ok"}
    assert warm == bare


def test_it_leaves_nothing_behind_that_a_cell_could_see(tmp_path: Path) -> None:
    # A module that prints, one that fails and one that is not there: none reaches stdout, none
    # keeps the server from starting.
    (tmp_path / "noisy.py").write_text("print('not a result')\n")
    (tmp_path / "broken.py").write_text("raise SystemExit(3)\n")
    said = python("-c", LEFT_BEHIND, "broken missing noisy", PYTHONPATH=str(tmp_path))
    assert said["after"] == said["before"]
    assert said["loaded"]
