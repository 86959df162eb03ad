"""Profiles: the size of a benchmark run, and whether its results are scored."""

from dataclasses import dataclass

from cab.errors import UnknownName


@dataclass(frozen=True)
class Profile:
    """One size of the benchmark.

    scored: the learning rates of a task are searched, and the results of certified tasks have a
    score. Which tasks are certified in a profile is on their cards.
    time_limit is the wall time of a cell in seconds, memory_limit its memory in GiB. A cell that
    exceeds one of them ends with the outcome `timeout` or `oom`.
    """

    name: str
    summary: str
    scored: bool
    time_limit: float
    memory_limit: float


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "smoke",
            "a few steps of every task, to test an installation; never scored",
            False,
            60,
            4,
        ),
        Profile("quick", "the default: a cell takes about a minute on 2 cores", True, 900, 8),
        Profile(
            "standard",
            "the tasks of quick in larger sizes, and published data sets, for one GPU",
            True,
            6 * 3600,
            64,
        ),
        Profile(
            "full",
            "published data sets in sizes of papers (the cards say which), for several GPUs",
            True,
            7 * 24 * 3600,
            512,
        ),
    )
}


DEFAULT_PROFILE = "quick"
"""The profile of a command that names none."""

SUITE_PROFILE = "full"
"""The profile of a command that names a suite and no profile."""

SEEDS_FOR_A_RANK = 3
"""On each scored task of a pattern."""


def get_profile(name: str) -> Profile:
    """Return a profile by its name.

    Raises:
        UnknownName: there is no such profile; the message lists similar names.
    """
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name]
