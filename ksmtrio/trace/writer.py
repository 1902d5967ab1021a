# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes traces as JSON Lines through a structlog pipeline of its own, plain or gzipped.

The pipeline belongs to one writer: nothing configures structlog globally, stamps wall time or
looks up call sites. Equal records give equal files, compressed or not. Tests:
`tests/unit/test_trace_writer.py`.
"""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

import structlog

from ksmtrio.errors import BadInput, ReplayDiverged
from ksmtrio.trace.format import TRACE_BYTES_MAX, BodyRecord, Footer, Header, Record, encode

_COMPRESSION_LEVEL: Final = 6


class _Sink:
    """A binary file whose flush does nothing: the logger flushes each line, gzip must not.

    A full disk, or a trace that grows too large, must not look like a fault of the execution that
    is being recorded: what was wrong first is kept for the end of the trace.

    Attributes:
        wrong: the first thing that went wrong, in words, or "".
    """

    def __init__(self, file: BinaryIO, bytes_max: int) -> None:
        self._write = file.write
        self._bytes_max = bytes_max
        self._total = 0
        self.wrong = ""

    def write(self, data: bytes) -> int:
        """Write, unless something went wrong before."""
        self._total += len(data)
        if self._total > self._bytes_max:
            self.wrong = self.wrong or (
                f"the trace is larger than {self._bytes_max} bytes, the most that is read back; "
                "give the scenario less to do, or a smaller points_max"
            )
        if not self.wrong:
            try:
                return self._write(data)
            except OSError as error:
                self.wrong = error.strerror or str(error)
        return len(data)

    def flush(self) -> None:
        """Leave it to the end of the trace."""


def _as_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    """Last processor: the canonical JSON of the record, made once and shared with the digest."""
    line: bytes | None = event.get("line")
    record: Record = event["record"]
    return encode(record) if line is None else line


class TraceWriter:
    """Writes one trace; use as a context manager. A trace that was not finished is removed.

    Args:
        path: ``.jsonl`` or ``.jsonl.gz``.
        shown: what errors call the file, where its own name would tell the user nothing.
        bytes_max: largest size, uncompressed.

    Raises:
        BadInput: another suffix, or the file cannot be written.
    """

    def __init__(
        self, path: Path, *, shown: Path | None = None, bytes_max: int = TRACE_BYTES_MAX
    ) -> None:
        check_trace_suffix(path)
        self._path = path
        self._shown = path if shown is None else shown
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_fifo():
                raise _unwritable(self._shown, "is a FIFO; expected a regular file")
            self._raw = path.open("wb")
        except OSError as error:
            raise _unwritable(self._shown, error.strerror or str(error)) from error
        self._finished = False
        self._file: BinaryIO = self._raw
        if path.name.endswith(".gz"):
            packed = gzip.GzipFile(
                filename="", mode="wb", compresslevel=_COMPRESSION_LEVEL, fileobj=self._raw, mtime=0
            )
            self._file = cast("BinaryIO", packed)
        self._sink = _Sink(self._file, bytes_max)
        self._log = structlog.wrap_logger(
            structlog.BytesLogger(cast("BinaryIO", self._sink)),
            processors=[_as_line],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind()

    def header(self, header: Header) -> None:
        """Write the first record."""
        self._log.info("header", record=header)

    def body(self, record: BodyRecord, line: bytes) -> None:
        """Write an event, choice or finding; a sink of the recorder.

        Raises:
            ReplayDiverged: nothing more can be written; ends the execution. `close` says why.
        """
        self._log.info("body", record=record, line=line)
        if self._sink.wrong:
            raise ReplayDiverged("the trace of this execution cannot be finished")

    def footer(self, footer: Footer) -> None:
        """Write the last record."""
        self._log.info("footer", record=footer)
        self._finished = True

    def close(self) -> None:
        """Finish the file, or remove what there is of it.

        Raises:
            BadInput: some of it could not be written.
        """
        regular = stat.S_ISREG(os.fstat(self._raw.fileno()).st_mode)
        try:
            if self._file is not self._raw:
                self._file.close()
            self._raw.close()
        except OSError as error:
            self._sink.wrong = self._sink.wrong or error.strerror or str(error)
        if regular and (self._sink.wrong or not self._finished):
            with suppress(OSError):
                self._path.resolve().unlink()
        if self._sink.wrong:
            raise _unwritable(self._shown, self._sink.wrong)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def _unwritable(path: Path, why: str) -> BadInput:
    return BadInput(f"{path}: cannot be written: {why}")


def check_trace_suffix(path: Path) -> None:
    """Refuse a file name that no reader would take for a trace.

    Raises:
        BadInput: the suffix is neither ``.jsonl`` nor ``.jsonl.gz``.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise BadInput(f"{path}: a trace ends in .jsonl or .jsonl.gz")
