"""Peak memory over length, in bytes of live tensors through a forward and a backward pass."""

import itertools
import math

import pytest
import torch
from support import build, draw
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LENGTHS = (1024, 2048, 4096, 8192)


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, while they live."""

    def __init__(self):
        super().__init__()
        self.live, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.live = {key: entry for key, entry in self.live.items() if not entry[0].expired()}
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                storage = StorageWeakRef(leaf.untyped_storage())
                self.live[storage.cdata] = storage, leaf.untyped_storage().nbytes()
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return out


def peak_bytes(attention, length):
    x = draw(1, length, attention.dim, dtype=torch.float32).requires_grad_()
    context = x.detach().clone().requires_grad_() if attention.pattern.cross else None
    with PeakBytes() as count:
        attention(x, context).sum().backward()
    return count.peak


def growth(name, pattern, lengths):
    """Return the exponents of peak memory between one length and the next, twice as long."""
    attention = build(name, pattern, dim=16, heads=2, dtype=torch.float32)
    peaks = [peak_bytes(attention, length) for length in lengths]
    return [math.log2(b / a) for a, b in itertools.pairwise(peaks)]


def test_the_counter_counts_live_bytes_once():
    x = torch.ones(1000)
    with PeakBytes() as count:
        y = x + 1
        y = y.view(10, 100)
        for _ in range(5):
            y = y * 2
    assert count.peak == 8000


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("window", "ns"),
        ("window", "cs"),
        ("linear", "ns"),
        ("linear", "cs"),
        ("linear", "nc"),
        ("linear", "cc"),
        ("mean", "cs"),
    ],
)
def test_memory_grows_linearly(name, pattern):
    assert max(growth(name, pattern, LENGTHS)) < 1.1


@pytest.mark.parametrize("pattern", ["ns", "cs", "nc"])
def test_softmax_grows_quadratically_so_that_the_check_can_fail(pattern):
    assert min(growth("softmax", pattern, (512, 1024, 2048))) > 1.8


def test_recomputed_chunks_grow_linearly_in_memory():
    assert max(growth("chunked", "cs", (512, 1024, 2048))) < 1.1


@pytest.mark.parametrize("name", ["window", "linear"])
def test_memory_at_8192_tokens_is_a_small_multiple_of_the_input(name):
    attention = build(name, "cs", dim=16, heads=2, dtype=torch.float32)
    one_tensor = 8192 * 16 * 4
    assert peak_bytes(attention, 8192) < 40 * one_tensor
