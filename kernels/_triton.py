"""What the Triton kernels share: tiles that end where the data ends, and checks before a launch.

A kernel carries `no_type_check` so that no import hook wraps it: Triton reads its source.
"""

# ruff: noqa: N803 - the constants of a kernel are in capitals, as in Triton's own

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from cab.kernels._offered import WIDEST

LOG2_E = tl.constexpr(1.4426950408889634)
"""exp(x) = exp2(x LOG2_E); the hardware has exp2 alone."""


@triton.jit
@no_type_check
def load_rows(
    matrix, start, length, stride, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Load rows start ... start + ROWS - 1 of a matrix; 0 beyond its length and its width."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    # The tile begins at a 64-bit offset; within it 32 bits do, and save registers.
    tile = matrix + tl.cast(start, tl.int64) * stride
    inside = (start + rows < length)[:, None]
    if WIDTH != COLUMNS:
        inside = inside & (columns < WIDTH)[None, :]
    return tl.load(tile + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
@no_type_check
def store_rows(
    matrix,
    values,
    start,
    length,
    stride,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Store a tile into rows start ... start + ROWS - 1, as far as the matrix reaches."""
    rows, columns = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    tile = matrix + tl.cast(start, tl.int64) * stride
    inside = (start + rows < length)[:, None]
    if WIDTH != COLUMNS:
        inside = inside & (columns < WIDTH)[None, :]
    values = values.to(matrix.dtype.element_ty)
    tl.store(tile + rows[:, None] * stride + columns[None, :], values, mask=inside)


@triton.jit
@no_type_check
def load_columns(
    matrix,
    start,
    length,
    stride,
    column,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Load a tile as `load_rows` does, from a column of the matrix on."""
    rows, columns = tl.arange(0, ROWS), column + tl.arange(0, COLUMNS)
    tile = matrix + tl.cast(start, tl.int64) * stride
    inside = (start + rows < length)[:, None] & (columns < WIDTH)[None, :]
    return tl.load(tile + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
@no_type_check
def store_columns(
    matrix,
    values,
    start,
    length,
    stride,
    column,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Store a tile as `store_rows` does, from a column of the matrix on."""
    rows, columns = tl.arange(0, ROWS), column + tl.arange(0, COLUMNS)
    tile = matrix + tl.cast(start, tl.int64) * stride
    inside = (start + rows < length)[:, None] & (columns < WIDTH)[None, :]
    values = values.to(matrix.dtype.element_ty)
    tl.store(tile + rows[:, None] * stride + columns[None, :], values, mask=inside)


def rows_contiguous(x: Tensor) -> Tensor:
    """Return x with its last axis contiguous, copied only if it is not: tiles are read in rows."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def strides_of(*tensors: Tensor) -> list[int]:
    """Return the strides (batch, head, row) of each, as the kernels take them."""
    return [stride for tensor in tensors for stride in tensor.stride()[:3]]


def power_of_two(width: int) -> int:
    """Return the side of a tile that holds the width; tensor cores take none below 16."""
    return max(16, triton.next_power_of_2(width))


def has_warp_groups(device: torch.device) -> bool:
    """Whether tensor cores read from shared memory, as on sm_90 and sm_100.

    Elsewhere, on later consumer GPUs too, what they multiply goes through registers first, and
    kernels take smaller tiles.
    """
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (9, 10)


def dot_precision(dtype: torch.dtype) -> str:
    """Return how float32 tiles are multiplied: as inputs, or as the states of half precision.

    Inputs take three products of TF32 parts, which keep 21 bits of 24; one would keep 10.
    """
    return "tf32x3" if dtype == torch.float32 else "tf32"


def check_sizes(q: Tensor, v: Tensor) -> None:
    """Raise unless queries (or keys) fit into a tile, and no size is 0.

    Raises:
        ValueError: heads wider than WIDEST, or a size of 0.
    """
    if q.shape[-1] > WIDEST:
        raise ValueError(
            f"Heads of width {q.shape[-1]} have no Triton kernel; the widest is {WIDEST}."
        )
    if 0 in (*q.shape, *v.shape):
        raise ValueError(f"A size is 0: q {tuple(q.shape)}, v {tuple(v.shape)}.")


def check_tensors(kernel: Any, *tensors: Tensor) -> None:
    """Raise unless the kernel can run on these tensors, all of one dtype and device.

    Raises:
        ValueError: the tensors are not on a GPU (and the kernel is not interpreted), differ in
            dtype or device, or have a dtype without a kernel.
    """
    first = tensors[0]
    if first.device.type != "cuda" and isinstance(kernel, triton.JITFunction):
        raise ValueError(
            f"Triton kernels run on CUDA; the tensors are on {first.device}. Choose another "
            "implementation, or set TRITON_INTERPRET=1 before the import to run the interpreter."
        )
    if first.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"There is no Triton kernel for {first.dtype}; cast to float32 or lower.")
    if first.dtype == torch.bfloat16 and first.device.type != "cuda":
        raise ValueError("Triton's interpreter multiplies bfloat16 wrongly; take float32.")
    for tensor in tensors:
        if tensor.dtype != first.dtype or tensor.device != first.device:
            raise ValueError(
                f"The inputs must share dtype and device; got {first.dtype} on {first.device} "
                f"and {tensor.dtype} on {tensor.device}."
            )
