"""Work and memory of a call, counted: operations and live bytes, no clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from cab.attention import Attention

DOTS: Mapping[Any, Callable[..., int]] = {
    torch.ops.aten.mv: lambda matrix, vector: 2 * matrix.numel(),
    torch.ops.aten.addmv: lambda bias, matrix, vector: 2 * matrix.numel(),
    torch.ops.aten.dot: lambda a, b: 2 * a.numel(),
    torch.ops.aten.vdot: lambda a, b: 2 * a.numel(),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_: (
        sdpa_flop_count(q.shape, k.shape, v.shape)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda out, q, k, v, *_: (
        sdpa_backward_flop_count(out.shape, q.shape, k.shape, v.shape)
    ),
}
"""Products that PyTorch's own counter has no formula for."""


class Counter(TorchDispatchMode):
    """Counts operations, and the bytes of the storages that they make, while those live.

    Operations are two per multiply-add of a matrix product, and one per element that any
    operation makes: a scan or a mask of N x N elements is work too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.alive, self.peak_bytes, self.operations = 0, 0, 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run the operation and note what it did and made."""
        out = function(*args, **(kwargs or {}))
        products = flop_registry.get(function._overloadpacket)
        if products is not None:
            self.operations += products(*args, **(kwargs or {}), out_val=out)
        elif function._overloadpacket in DOTS:
            self.operations += DOTS[function._overloadpacket](*args)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf, function._schema.is_mutable)
        # Asking what has died takes as long as there are tensors, so a peak is known to 1 %.
        if self.alive > 1.01 * self.peak_bytes:
            self.live = {key: one for key, one in self.live.items() if not one[0].expired()}
            self.alive = sum(size for _, size in self.live.values())
            self.peak_bytes = max(self.peak_bytes, self.alive)
        return out

    def _note(self, made: Tensor, written: bool) -> None:
        storage = StorageWeakRef(made.untyped_storage())
        known = self.live.get(storage.cdata)
        if known is not None and not known[0].expired():
            if written:
                self.operations += made.numel()
            return  # a view makes nothing; what owns a new storage was computed
        self.operations += made.numel()
        size = made.untyped_storage().nbytes()
        self.alive += size - (known[1] if known else 0)
        self.live[storage.cdata] = storage, size


@dataclass(frozen=True)
class Counted:
    """Of one forward and backward pass: operations, the most bytes alive at once.

    finite says that all outputs are.
    """

    operations: int
    peak_bytes: int
    finite: bool


def count(
    module: Attention, x: Tensor, context: Tensor | None, mask: Tensor | None = None
) -> Counted:
    """Count a forward and a backward pass."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), Counter() as counter:
        out = module(x, context, key_padding_mask=mask)
        if out.requires_grad:
            out.sum().backward()
    module.zero_grad(set_to_none=True)
    return Counted(counter.operations, counter.peak_bytes, bool(out.isfinite().all()))
