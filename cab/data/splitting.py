"""Divide published parts by the content of examples, so that no two splits share one."""

import hashlib
from collections.abc import Iterable

VALIDATING = 10
"""One in this many examples is for validation if the publisher has no part for it."""


def divide(training: Iterable[bytes], test: Iterable[bytes]) -> tuple[list[int], list[int]]:
    """Return the indices of the training examples for training and for validation.

    Examples that are also in the test part are left out. The hash of an example decides, so that
    equal examples are in the same split.
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
    """Return the indices of the kept examples of the publisher's train and valid parts.

    Examples that are also in a later part are left out; the test part is kept whole.
    """
    last, middle = set(map(_digest, test)), list(map(_digest, valid))
    later = last.union(middle)
    return (
        [number for number, digest in enumerate(map(_digest, training)) if digest not in later],
        [number for number, digest in enumerate(middle) if digest not in last],
    )


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
