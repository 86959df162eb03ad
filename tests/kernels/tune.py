"""Time the committed candidates of softmax's tiles on this GPU: `python tests/kernels/tune.py`.

One kernel's tiles change at a time, the other two keep those of the tables in
`kernels/softmax/triton_kernels.py`, which are then chosen by hand from what this prints: bfloat16,
16 heads, 16,384 tokens, milliseconds of the forward pass or of forward and backward.
"""

import sys
from statistics import median
from typing import Any

import torch

LENGTH, HEADS, SAMPLES, WARM_CALLS = 16_384, 16, 20, 3


def milliseconds(kernel: str, tiles: Any, width: int, causal: bool) -> float | str:
    """Return the median, or why there is none."""
    from triton.runtime.errors import OutOfResources

    from cab.kernels.softmax.triton_kernels import tiles_for, triton_softmax
    from cab.measure.timers import choose_timer

    timer, random = choose_timer("cuda"), torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, LENGTH, HEADS, width, generator=random).to("cuda", torch.bfloat16)
        for _ in range(3)
    )
    q, k, v = (x.transpose(1, 2).requires_grad_() for x in (q, k, v))
    choice = tiles_for(q, width)._replace(**{kernel: tiles})

    def call() -> Any:
        out = triton_softmax(q, k, v, causal=causal, tiles=choice)
        return out if kernel == "forward" else torch.autograd.grad(out, (q, k, v), q)

    seconds = []
    try:
        for _ in range(WARM_CALLS + SAMPLES):
            timer.flush()
            seconds.append(timer.read(call).seconds)
    except OutOfResources as error:
        return f"does not fit: {error}"
    return round(1e3 * median(seconds[WARM_CALLS:]), 4)


def main() -> None:
    """Print a line for each candidate, the fastest of each kind first."""
    from cab.kernels.softmax.triton_kernels import CANDIDATES, tiles_for

    for width in (64, 128):
        table = tiles_for(torch.empty(1, dtype=torch.bfloat16, device="cuda"), width)
        for causal in (False, True):
            for kernel, some in CANDIDATES.items():
                found = [(milliseconds(kernel, tiles, width, causal), tiles) for tiles in some]
                for time, tiles in sorted(found, key=lambda one: (str(type(one[0])), one[0])):
                    now = " (committed)" if tiles == getattr(table, kernel) else ""
                    kind = "causal" if causal else "full"
                    sys.stdout.write(f"{width} {kind} {kernel} {time} {tuple(tiles)}{now}\n")


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("Tiles are chosen on a GPU; torch sees none here.")
    main()
