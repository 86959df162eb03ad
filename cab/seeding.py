"""Seeds from names: every random stream has its own generator, none shares the global one."""

import hashlib

import torch


def derive_seed(*parts: object) -> int:
    """Hash the parts into a seed below 2^63, the same on every machine and in every process."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """Return a CPU generator seeded by the parts."""
    return torch.Generator().manual_seed(derive_seed(*parts))
