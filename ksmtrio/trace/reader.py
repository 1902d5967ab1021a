# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads traces: streaming, bounded, every field validated.

Nothing in a trace is trusted, pickled or evaluated. A file is refused before it is read when it is
too large, and while it is read when what it unpacks to is. Whatever is wrong ends in one
`TraceError` of the form ``file:line: what; what is allowed``. Tests:
`tests/unit/test_trace_reader.py`.
"""

from __future__ import annotations

import gzip
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import attrs
import msgspec

from ksmtrio.errors import BadInput, TraceError
from ksmtrio.sched.choices import Choices
from ksmtrio.trace.format import (
    KINDS,
    TRACE_BYTES_MAX,
    BodyRecord,
    ChoiceRecord,
    EventRecord,
    FindingRecord,
    Footer,
    Header,
    Record,
    check_version,
    decode,
    executed_of,
)
from ksmtrio.tracepoints.base import Event

LINE_BYTES_MAX: Final = 8 << 20
"""Longest line; a header holds a whole scenario."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GARBLED: Final = (gzip.BadGzipFile, zlib.error, EOFError)


@attrs.frozen(eq=False)
class Trace:
    """A trace file that was found to be whole and valid.

    Attributes:
        path: the file.
        header: what was executed.
        choices: all of them, stream by stream.
        findings: of the execution.
        footer: verdict and digests.
        records: lines of the file.
    """

    path: Path
    header: Header
    choices: Choices
    findings: tuple[FindingRecord, ...]
    footer: Footer
    records: int
    bytes_max: int = TRACE_BYTES_MAX

    def lines(self) -> Iterator[tuple[int, Record]]:
        """Yield line number, from 1, and record, header and footer included."""
        return read_records(self.path, bytes_max=self.bytes_max)

    def body(self) -> Iterator[tuple[int, BodyRecord]]:
        """Yield what stands between header and footer."""
        for number, record in self.lines():
            if isinstance(record, EventRecord | ChoiceRecord | FindingRecord):
                yield number, record

    def events(self) -> Iterator[Event]:
        """Yield the events alone."""
        for _, record in self.lines():
            if isinstance(record, EventRecord):
                yield record.to_event()


def read_trace(path: Path | str, *, bytes_max: int = TRACE_BYTES_MAX) -> Trace:
    """Read a trace once, checking all of it, and return what is needed to replay it.

    Args:
        path: ``.jsonl``, plain or gzipped (told by content).
        bytes_max: largest size, uncompressed.

    Raises:
        TraceError: truncated, malformed, oversized or of an unknown version.
    """
    path = Path(path)
    choices = Choices()
    streams = {"schedule": choices.schedule, "data": choices.data, "faults": choices.faults}
    findings: list[FindingRecord] = []
    header: Header | None = None
    footer: Footer | None = None
    nr_records = 0
    for _, record in read_records(path, bytes_max=bytes_max):
        nr_records += 1
        if isinstance(record, ChoiceRecord):
            streams[record.stream].append(record.index)
        elif isinstance(record, FindingRecord):
            findings.append(record)
        elif isinstance(record, Header):
            header = record
        elif isinstance(record, Footer):
            footer = record
    assert header is not None
    assert footer is not None
    return Trace(path, header, choices, tuple(findings), footer, nr_records, bytes_max)


def read_records(path: Path, *, bytes_max: int = TRACE_BYTES_MAX) -> Iterator[tuple[int, Record]]:
    """Yield line number and record of a trace, checking each field and the order of kinds.

    Raises:
        TraceError: as in `read_trace`; raised when the iteration comes to the faulty line.
    """
    last: Record | None = None
    number = 0
    for number, line in _lines(path, bytes_max):
        record = _parse(path, number, line)
        _check_order(path, number, record, last)
        yield number, record
        last = record
    if number == 0:
        raise TraceError(f"{path}: the file is empty; a trace begins with a header")
    if not isinstance(last, Footer):
        raise TraceError(f"{path}:{number}: truncated; a trace ends with a footer")


def _parse(path: Path, number: int, line: bytes) -> Record:
    try:
        if number == 1:
            check_version(line)
        record = decode(line)
        if isinstance(record, Header):
            executed_of(record)
    except BadInput as error:
        raise TraceError(f"{path}:{number}: {error}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wanted = "a header" if number == 1 else "a record of kind " + ", ".join(KINDS)
        raise TraceError(f"{path}:{number}: {_reason(error)}; expected {wanted}") from error
    return record


def _reason(error: Exception) -> str:
    """Return what is wrong in words: not JSON at all, or valid JSON that is no record."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, msgspec.ValidationError):
        return f"not a valid record: {text}"
    return f"not JSON: {text}"


def _check_order(path: Path, number: int, record: Record, last: Record | None) -> None:
    if isinstance(record, Header) != (last is None):
        raise TraceError(f"{path}:{number}: the header must be the first record, and only that")
    if isinstance(last, Footer):
        raise TraceError(f"{path}:{number}: a record after the footer; it must be the last")
    if isinstance(last, FindingRecord) and not isinstance(record, FindingRecord | Footer):
        raise TraceError(f"{path}:{number}: only findings and the footer may follow a finding")


def _lines(path: Path, bytes_max: int) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines without their ends, never holding more than one."""
    raw = _open(path, bytes_max)
    with raw:
        file: Any = raw
        packed = _is_gzip(path, raw)
        if packed:
            file = gzip.GzipFile(fileobj=raw, mode="rb")
        total = 0
        number = 0
        while True:
            number += 1
            try:
                line: bytes = file.readline(min(LINE_BYTES_MAX, bytes_max - total) + 1)
            except _GARBLED as error:
                raise TraceError(
                    f"{path}:{number}: truncated or damaged gzip data ({error}); record it again"
                ) from error
            except OSError as error:
                raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
            if not line:
                return
            total += len(line)
            if total > bytes_max:
                raise TraceError(_oversized(path, bytes_max, unpacked=packed))
            if len(line) > LINE_BYTES_MAX:
                raise TraceError(
                    f"{path}:{number}: the line is too long; at most {LINE_BYTES_MAX} bytes"
                )
            yield number, line.rstrip(b"\r\n")


def _open(path: Path, bytes_max: int) -> BinaryIO:
    try:
        if path.is_dir():
            raise TraceError(f"{path}: is a directory; expected a .jsonl or .jsonl.gz file")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise TraceError(f"{path}: is no regular file; expected a .jsonl or .jsonl.gz file")
        if status.st_size > bytes_max:
            raise TraceError(_oversized(path, bytes_max, unpacked=False))
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{path}: cannot be read: {reason}") from error


def _is_gzip(path: Path, raw: BinaryIO) -> bool:
    try:
        magic: bytes = cast("Any", raw).peek(4)[:4]
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if magic == _ZSTD_MAGIC:
        raise TraceError(f"{path}: is compressed with zstd; unpack it first, or use gzip")
    return magic.startswith(_GZIP_MAGIC)


def _oversized(path: Path, bytes_max: int, *, unpacked: bool) -> str:
    what = "unpacks to" if unpacked else "has"
    return f"{path}: {what} more than {bytes_max} bytes; a trace has at most that many"
