# SPDX-License-Identifier: GPL-2.0-or-later
"""Digests of what happened and of how the machine looks afterwards: BLAKE2b over canonical JSON.

Equal digests on every Python and in every process mean equal executions; `ksmtrio doctor` rests on
that. Tests: `tests/unit/test_trace_format.py`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec

from ksmtrio.errors import EmulatorError

DIGEST_BYTES: Final = 16

_encode = msgspec.json.Encoder(order="deterministic").encode


class EventDigest:
    """Digest of a stream of records, one line at a time."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=DIGEST_BYTES)

    def update(self, line: bytes) -> None:
        """Add the canonical JSON of one record."""
        self._hash.update(line)
        self._hash.update(b"\n")

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._hash.hexdigest()


def digest_of(data: Any) -> str:
    """Return the digest of plain data, e.g. of `Machine.dump()`.

    Raises:
        EmulatorError: the data holds something that is no JSON, or a float.
    """
    _refuse_floats(data)
    try:
        encoded = _encode(data)
    except (TypeError, msgspec.MsgspecError) as error:
        raise EmulatorError(f"the machine's dump is not plain data: {error}") from error
    return blake2b(encoded, digest_size=DIGEST_BYTES).hexdigest()


def _refuse_floats(data: Any) -> None:
    pending = [data]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(item)
        elif isinstance(item, float | set | frozenset):
            raise EmulatorError(f"the machine's dump holds a {type(item).__name__}: {item!r}")
