"""Memory of a pass: its peak, its workspace, and what it keeps for the backward pass."""

import gc
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from cab.conformance.counting import Counter
from cab.measure.built import bytes_of
from cab.measure.passes import Passage


class MadeCounter(Counter):
    """Counts the storages that operations allocate, and no earlier ones.

    Inputs, parameters and saved tensors of an earlier forward pass are known as arguments of
    operations, so that views of them are not counted.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Register the arguments as known, then count the operation."""
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                storage = StorageWeakRef(leaf.untyped_storage())
                known = self.live.get(storage.cdata)
                if known is None or known[0].expired():
                    self.alive -= known[1] if known else 0
                    self.live[storage.cdata] = storage, 0
        return super().__torch_dispatch__(function, types, args, kwargs)


@dataclass(frozen=True)
class Memory:
    """Memory in bytes.

    Attributes:
        peak: the most that the pass allocated and held at once, including outputs.
        outputs: the size of the outputs; `workspace` is the peak without them.
        saved: the saved tensors of autograd, over distinct storages other than inputs and
            parameters.
        held: what is alive after a forward pass besides inputs and output, including what
            checkpoints keep in closures.
        state: the size of the decoding state.
    """

    peak: int
    outputs: int
    saved: int | None = None
    held: int | None = None
    state: int | None = None

    @property
    def workspace(self) -> int:
        """The peak without the outputs."""
        return max(0, self.peak - self.outputs)


def measure_memory(passage: Passage) -> Memory:
    """Run the pass once more and measure its memory.

    On a CPU the storages that operations allocate are counted, without the internal buffers of
    fused kernels; on CUDA the allocator reports the peak.
    """
    call = passage.call(0)
    peak, result = _peak(passage, call)
    outputs = bytes_of(result)
    del result, call
    saved = held = None
    if passage.differentiates:
        saved, held = _saved(passage), _held(passage)
    return Memory(peak, outputs, saved, held, passage.state_bytes)


def _peak(passage: Passage, call: Any) -> tuple[int, Any]:
    if passage.mechanism.point.device.startswith("cuda"):
        gc.collect()
        torch.cuda.synchronize()
        base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        result = call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - base, result
    with MadeCounter() as counter:
        result = call()
    return counter.peak_bytes, result


def _saved(passage: Passage) -> int:
    given = passage.inputs[0]
    known = {x.untyped_storage().data_ptr() for x in passage.wanted(given)}
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = passage.mechanism.forward(given)  # kept alive, so that no storage is counted twice
    del out
    return sum(kept.values())


def _held(passage: Passage) -> int:
    given = passage.inputs[0]
    if passage.mechanism.point.device.startswith("cuda"):
        gc.collect()
        base = torch.cuda.memory_allocated()
        out = passage.mechanism.forward(given)
        torch.cuda.synchronize()
        return max(0, torch.cuda.memory_allocated() - base - bytes_of(out))
    with MadeCounter() as counter:
        out = passage.mechanism.forward(given)
    alive = sum(size for storage, size in counter.live.values() if not storage.expired())
    return max(0, alive - bytes_of(out))
