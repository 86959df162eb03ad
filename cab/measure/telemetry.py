"""Clock, power and temperature of the device while a cell runs; they are read, never set."""

import subprocess
from collections.abc import Mapping

ASKED = {
    "clock_mhz": "clocks.sm",
    "memory_clock_mhz": "clocks.mem",
    "power_watt": "power.draw",
    "temperature_celsius": "temperature.gpu",
    "throttle_reasons": "clocks_throttle_reasons.active",
}
"""Field names of a row, with nvidia-smi's names. The reasons are bits that NVML defines."""


def device_state(device: str, moment: str) -> Mapping[str, float]:
    """Read the state of a GPU with nvidia-smi; empty for a CPU.

    Names start with the moment, as in `before_clock_mhz`.
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
        return {}  # a row is valid without them
    return read_state(told.stdout, moment)


def read_state(line: str, moment: str) -> dict[str, float]:
    """Parse a line of nvidia-smi; values that a GPU does not report (`[N/A]`) are left out."""
    state = {}
    for name, word in zip(ASKED, line.strip().split(","), strict=False):
        word = word.strip()
        try:
            state[f"{moment}_{name}"] = float(int(word, 16) if word[:2] == "0x" else float(word))
        except ValueError:
            continue
    return state
