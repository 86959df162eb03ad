"""Compile Triton's kernels for GPUs that are not there, and read from the binaries what they cost.

`python tests/kernels/ahead_of_time.py 90 128 bfloat16` prints as JSON what each kernel takes on
sm_90 in heads of width 128 (and with `causal,linear` behind it, those of two cases alone); `write`
instead measures all and writes budgets.json anew. It is a process of its own: in the process of
the tests kernels are interpreted.

What is compiled is what would be launched: the operators run on tensors without data, and each
launch is noted down with its constants, warps and stages instead.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

BUDGETS = Path(__file__).with_name("budgets.json")
TARGETS = (80, 90, 100)
WIDTHS = (64, 128)
BATCH, HEADS, LENGTH = 4, 16, 4096
TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.int32: "*i32",
    torch.uint8: "*u8",
}


class Launch(NamedTuple):
    """A kernel and the arguments by name with which it was launched, warps and stages too."""

    kernel: Any
    arguments: dict[str, Any]


def cases(
    target: int, width: int, dtype: torch.dtype
) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """Every operator at a head width, in the forms that compile differently."""
    from cab.kernels import _triton

    _triton.check_tensors = lambda *tensors: None  # tensors without data are on no GPU
    from cab.kernels.delta_rule.triton_kernels import triton_delta_rule
    from cab.kernels.linear.triton_kernels import triton_linear
    from cab.kernels.neighborhood.triton_kernels import triton_neighborhood
    from cab.kernels.scalar_decay.triton_kernels import triton_scalar_decay
    from cab.kernels.softmax import triton_kernels as softmax
    from cab.kernels.vector_decay.triton_kernels import triton_vector_decay

    # Where it was imported to: other targets may have been compiled for before.
    softmax.has_warp_groups = lambda device: target in (90, 100)

    def draw(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        made = torch.empty(BATCH, HEADS, LENGTH, *shape, dtype=dtype, device="meta")
        return made.requires_grad_()

    q, k, v = (draw(width) for _ in range(3))
    scalar, vector = draw(dtype=torch.float32), draw(width, dtype=torch.float32)
    absent = torch.empty(BATCH, LENGTH, dtype=torch.bool, device="meta")
    block = 64 if dtype == torch.bfloat16 else 32
    blocks = torch.empty(1, 1, LENGTH // block, LENGTH // block, dtype=torch.bool, device="meta")
    yield "causal", lambda: softmax.triton_softmax(q, k, v, causal=True)
    yield "padded", lambda: softmax.triton_softmax(q, k, v, key_padding_mask=absent)
    yield "window", lambda: softmax.triton_softmax(q, k, v, causal=True, window=512)
    yield "blocks", lambda: softmax.triton_softmax(q, k, v, block_mask=blocks, block=block)
    yield "picture", lambda: triton_neighborhood(q, k, v, grid=(64, LENGTH // 64), side=7)
    yield "linear", lambda: triton_linear(q, k, v, causal=True)
    yield "cross", lambda: triton_linear(q, k, v, causal=False)
    yield "scalar", lambda: triton_scalar_decay(q, k, v, scalar)
    yield "vector", lambda: triton_vector_decay(q, k, v, vector)
    yield "delta", lambda: triton_delta_rule(q, k, v, scalar, scalar)


def launches(
    target: int, width: int, dtype: torch.dtype = torch.bfloat16, only: tuple[str, ...] = ()
) -> dict[str, Launch]:
    """Return the different launches of forward and backward passes, by kernel, case and width."""
    noted: list[Launch] = []

    def note(self: Any, *arguments: Any, grid: Any, warmup: bool, **named: Any) -> None:
        noted.append(Launch(self, dict(zip(self.arg_names, arguments, strict=False)) | named))

    run, triton.JITFunction.run = triton.JITFunction.run, note
    found: dict[str, Launch] = {}
    try:
        for case, forward in cases(target, width, dtype):
            if only and case not in only:
                continue
            noted.clear()
            forward().sum().backward()
            for launch in noted:
                name = f"{launch.kernel.__name__} {case} {width}"
                # The states of keys and of their gradients, for one, differ in a constant.
                while name in found and _source(found[name])[1:] != _source(launch)[1:]:
                    name += "'"
                found[name] = launch
    finally:
        triton.JITFunction.run = run
    return found


def _source(launch: Launch) -> tuple[Any, dict[str, str], dict[str, Any], dict[Any, Any]]:
    """Return what Triton compiles: specialised on 1 and on multiples of 16, as at a launch."""
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or (type(value) is int and value == 1):
            signature[parameter.name] = "constexpr"
            constants[(place,)] = value
            continue
        if isinstance(value, float):
            signature[parameter.name] = "fp32"
            continue
        pointer = isinstance(value, torch.Tensor)
        signature[parameter.name] = TYPES[value.dtype] if pointer else "i32"
        if pointer or value % 16 == 0:
            attributes[(place,)] = [["tt.divisibility", 16]]
    return launch.kernel, signature, constants, attributes


def compile_launch(launch: Launch, target: int) -> dict[str, int]:
    """Return registers per thread, bytes spilled and shared, and calls of tensor cores."""
    compiled = triton.compile(
        ASTSource(*_source(launch)),
        target=GPUTarget("cuda", target, 32),
        options={name: launch.arguments.get(name, default) for name, default in OPTIONS.items()},
    )
    code = compiled.asm["ptx"]
    return {
        **_resources(compiled.asm["cubin"]),
        "shared": compiled.metadata.shared,
        "products": len(re.findall(r"wgmma\.mma_async|\bmma\.sync|tcgen05\.mma", code)),
        "wgmma": code.count("wgmma.mma_async"),
    }


OPTIONS = {"num_warps": 4, "num_stages": 3}
"""What Triton takes where a launch names none."""


def _resources(binary: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        told = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.findall(r"\bREG:(\d+) STACK:(\d+)", told)
    assert len(found) == 1, f"A binary holds one kernel; it says {told}"
    # Triton itself puts nothing on the stack: what is there has been spilled. Thousands of bytes
    # beside few registers are ptxas giving up on a kernel that needs too many.
    return {"registers": int(found[0][0]), "spilled": int(found[0][1])}


def measure(
    target: int, width: int, dtype: torch.dtype = torch.bfloat16, only: tuple[str, ...] = ()
) -> dict[str, dict[str, int]]:
    """Compile the launches at a head width for a target."""
    found = launches(target, width, dtype, only)
    return {name: compile_launch(launch, target) for name, launch in found.items()}


def write_budgets() -> None:
    """Measure everything; registers are rounded up to 8, as the hardware hands them out.

    What Triton has in its cache is not compiled again, so that it may be cut off and called again.
    """
    budgets: dict[str, Any] = {"triton": series()}
    for target in TARGETS:
        budgets[f"sm_{target}"] = {}
        for width in WIDTHS:
            for name, cost in measure(target, width).items():
                registers = -(-cost["registers"] // 8) * 8
                budgets[f"sm_{target}"][name] = [registers, cost["spilled"]]
                sys.stderr.write(f"sm_{target} {name} {cost}\n")
    text = json.dumps(budgets, indent=1)
    BUDGETS.write_text(re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n")


def series() -> str:
    """Return Triton's version as far as its code for a kernel stays the same."""
    return ".".join(triton.__version__.split(".")[:2])


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_budgets()
    else:
        target, width, dtype, *only = sys.argv[1:]
        some = tuple(only[0].split(",")) if only else ()
        costs = measure(int(target), int(width), getattr(torch, dtype), some)
        sys.stdout.write(json.dumps(costs))
