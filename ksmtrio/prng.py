# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeded bit streams, one a purpose, that give equal numbers on every Python.

The standard generator serves as a source of bits only; ranges are drawn by `Stream.below`, because
library range helpers may change between Python versions. Tests: `tests/unit/test_prng.py`.
"""

from __future__ import annotations

import hashlib
import random


class Stream:
    """A deterministic source of integers.

    Args:
        seed: any integer.
        purpose: name of the stream; different purposes of one seed are independent.
    """

    __slots__ = ("_bits",)

    def __init__(self, seed: int, purpose: str) -> None:
        material = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
        self._bits = random.Random(int.from_bytes(material, "big")).getrandbits

    def below(self, n: int) -> int:
        """Return an integer in [0, n), uniform; n must be positive."""
        if n == 1:
            return 0
        bits = self._bits
        if n == 2:  # by far the most frequent
            return bits(1)
        width = (n - 1).bit_length()
        value = bits(width)
        while value >= n:
            value = bits(width)
        return value

    def one_in(self, n: int) -> bool:
        """Return True with probability 1/n."""
        return self.below(n) == 0
