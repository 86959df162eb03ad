"""What a mechanism of linear memory must survive: 65,537 tokens, forwards and backwards."""

import pytest
import torch
from support import build, draw

LENGTH = 65_537
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def assert_survives(name, pattern, dtype, **options):
    """Assert that outputs and all gradients are finite."""
    attention = build(name, pattern, dim=8, heads=2, dtype=dtype, **options)
    x = draw(1, LENGTH, 8, dtype=dtype).requires_grad_()
    out = attention(x)
    out.backward(draw(*out.shape, dtype=dtype, seed="from above"))
    assert out.dtype == dtype
    assert out.isfinite().all()
    leaves = [x, *attention.parameters()]
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)
