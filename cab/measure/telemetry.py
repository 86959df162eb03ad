"""What the device does while a cell runs: clock, power, temperature. Nothing is ever set."""

import contextlib
from collections.abc import Mapping


def device_state(device: str) -> Mapping[str, float]:
    """Read the GPU through NVML where it is there; a CPU has nothing to say here."""
    if not device.startswith("cuda"):
        return {}
    import torch

    readers = {
        "clock_mhz": torch.cuda.clock_rate,
        "power_milliwatt": torch.cuda.power_draw,
        "temperature_celsius": torch.cuda.temperature,
        "utilisation_percent": torch.cuda.utilization,
    }
    state = {}
    for name, read in readers.items():
        # Without NVML's bindings each raises its own error; a row without them is still a row.
        with contextlib.suppress(Exception):
            state[name] = float(read())
    return state
