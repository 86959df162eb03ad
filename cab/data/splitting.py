"""Dividing published parts so that no two splits share an example, by what the examples hold."""

import hashlib
from collections.abc import Iterable

VALIDATING = 10
"""One in so many examples validates where the publisher has no part for that."""


def divide(training: Iterable[bytes], test: Iterable[bytes]) -> tuple[list[int], list[int]]:
    """Return which training examples train and which validate, by their contents.

    What also stands in the test part does neither. An example validates by its hash, so that equal
    ones stay on one side.
    """
    taken = set(map(_digest, test))
    train: list[int] = []
    valid: list[int] = []
    for number, digest in enumerate(map(_digest, training)):
        if digest not in taken:
            validates = int.from_bytes(digest[:8], "big") % VALIDATING == 0
            (valid if validates else train).append(number)
    return train, valid


def keep_apart(
    training: Iterable[bytes], valid: Iterable[bytes], test: Iterable[bytes]
) -> tuple[list[int], list[int]]:
    """Return which examples of the publisher's parts to train and to validate on are kept.

    One that also stands in a later part is not; all of the test part are.
    """
    last, middle = set(map(_digest, test)), list(map(_digest, valid))
    later = last.union(middle)
    return (
        [number for number, digest in enumerate(map(_digest, training)) if digest not in later],
        [number for number, digest in enumerate(middle) if digest not in last],
    )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
