"""A kernel that leaves a part of its output unwritten fails, whatever the memory held before."""

import pytest
import torch
import triton
import triton.language as tl
from interpreted import DEVICE, ON_GPU, assert_close, both, draw

with triton.knobs.runtime.scope():
    triton.knobs.runtime.interpret = not ON_GPU

    @triton.jit
    def double(x, out, length, BLOCK: tl.constexpr):  # noqa: N803
        """Write twice the first `length` numbers."""
        places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        values = tl.load(x + places, mask=places < length)
        tl.store(out + places, 2 * values, mask=places < length)


ALLOCATE = {
    "empty": lambda x: torch.empty(x.shape, dtype=x.dtype, device=x.device),
    "empty_like": lambda x: torch.empty_like(x),
    "empty_strided": lambda x: torch.empty_strided(x.shape, x.stride(), device=x.device),
    "empty_permuted": lambda x: torch.empty_permuted(x.shape, (0, 1), device=x.device),
    "new_empty": lambda x: x.new_empty(x.shape),
    "new_empty_strided": lambda x: x.new_empty_strided(x.shape, x.stride()),
}


def doubled(allocate, unwritten, gradient_unwritten):
    """Twice the input, by a kernel that leaves out the last numbers."""

    def launch(x, left_out):
        out = allocate(x)
        double[(triton.cdiv(x.numel(), 16),)](x.contiguous(), out, x.numel() - left_out, BLOCK=16)
        return out

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return launch(x, unwritten)

        @staticmethod
        def backward(ctx, above):
            return launch(above.contiguous(), gradient_unwritten)

    return Doubled.apply


def checked(function):
    # An earlier, right answer lies in memory that was freed.
    kept = [2 * draw(5, 7, seed=1).to(DEVICE) for _ in range(4)]
    del kept
    assert_close(both(function, lambda x: 2 * x, [draw(5, 7, seed=1)]), 1e-6, "output gradient")


@pytest.mark.parametrize("name", ALLOCATE)
def test_a_kernel_that_writes_all_passes(name):
    checked(doubled(ALLOCATE[name], 0, 0))


@pytest.mark.parametrize("name", ALLOCATE)
@pytest.mark.parametrize(
    ("unwritten", "gradient_unwritten", "said"),
    [
        (1, 0, "output is not finite"),
        (0, 1, "gradient is not finite"),
        (35, 0, "output is not finite"),
    ],
)
def test_a_kernel_that_leaves_numbers_unwritten_is_caught(
    name, unwritten, gradient_unwritten, said
):
    with pytest.raises(AssertionError, match=said):
        checked(doubled(ALLOCATE[name], unwritten, gradient_unwritten))


@pytest.mark.parametrize("name", ALLOCATE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_new_memory_is_nan(name, dtype):
    x = torch.zeros(5, 7, dtype=torch.float32, device=DEVICE)
    assert ALLOCATE[name](x).isnan().all()
    assert torch.empty(3, dtype=dtype).isnan().all()
    assert torch.empty(2, 3, dtype=torch.complex64).isnan().all()


def test_new_whole_numbers_are_the_largest():
    assert (torch.empty(3, dtype=torch.int32) == 2**31 - 1).all()
    assert torch.empty(3, dtype=torch.bool).all()
    assert torch.empty(3, dtype=torch.float32, device="meta").is_meta
    grown = torch.empty(3, requires_grad=True)
    assert grown.requires_grad
    assert grown.is_leaf
