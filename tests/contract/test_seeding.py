"""The streams of random numbers that names stand for."""

import torch

from cab.seeding import derive_seed, seed_all


def test_the_global_stream_is_the_one_that_pytorch_would_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("a", 1))
        expected = torch.rand(5)
        seed_all(torch.device("cpu"), "a", 1)
        assert torch.equal(torch.rand(5), expected)
        seed_all(torch.device("cpu"), "a", 2)
        assert not torch.equal(torch.rand(5), expected)
