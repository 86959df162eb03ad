"""Profiles: how large a benchmark run is, and whether its numbers count."""

from dataclasses import dataclass

from cab.errors import UnknownName


@dataclass(frozen=True)
class Profile:
    """One size of the benchmark.

    time_limit is seconds of wall time per cell, memory_limit GiB of a cell's own data; both end
    the cell with an outcome of their own (timeout, oom).
    """

    name: str
    summary: str
    scored: bool
    time_limit: float
    memory_limit: float


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", "plumbing: a few steps of every task, never scored", False, 60, 4),
        Profile(
            "quick", "the embedded default: a cell takes up to a minute on 2 cores", True, 900, 8
        ),
        Profile("standard", "published data sets at a size for one GPU", True, 6 * 3600, 64),
        Profile("full", "the sizes of the papers, for several GPUs", True, 7 * 24 * 3600, 512),
    )
}


DEFAULT_PROFILE = "quick"
"""The profile of a command that names none."""

TUNED = "train.learning_rate"
"""The one training setting that is chosen per entry, on validation, in `TUNED_PROFILES`."""

TUNED_PROFILES = ("standard", "full")

SEEDS_FOR_A_RANK = 3
"""On each scored task of a pattern."""


def get_profile(name: str) -> Profile:
    """Return a profile; an unknown name raises with the nearest ones."""
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]
