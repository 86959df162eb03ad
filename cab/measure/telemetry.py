"""What the device does while a cell runs: clock, power, temperature. Nothing is ever set."""

import subprocess
from collections.abc import Mapping

ASKED = {
    "clock_mhz": "clocks.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_watt": "power.draw",
    "temperature_celsius": "temperature.gpu",
    "throttle_reasons": "clocks_throttle_reasons.active",
}
"""Names in a row, and nvidia-smi's for them. The reasons are bits, as NVML defines them."""


def device_state(device: str, moment: str) -> Mapping[str, float]:
    """Read the GPU by nvidia-smi, which comes with its driver; a CPU has nothing to say here.

    The names begin with the moment: `before_clock_mhz`.
    """
    if not device.startswith("cuda"):
        return {}
    index = device.partition(":")[2] or "0"
    command = ["nvidia-smi", f"--id={index}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(
            [*command, f"--query-gpu={','.join(ASKED.values())}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return {}  # a row without them is still a row
    return read_state(told.stdout, moment)


def read_state(line: str, moment: str) -> dict[str, float]:
    """Read nvidia-smi's line; what it does not know on a GPU (`[N/A]`) is left out."""
    state = {}
    for name, word in zip(ASKED, line.strip().split(","), strict=False):
        word = word.strip()
        try:
            state[f"{moment}_{name}"] = float(int(word, 16) if word[:2] == "0x" else float(word))
        except ValueError:
            continue
    return state
