# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes traces as JSON Lines through a structlog pipeline of its own, plain or gzipped.

The pipeline belongs to one writer: nothing configures structlog globally, stamps wall time or
looks up call sites. Equal records give equal files, compressed or not. Tests:
`tests/unit/test_trace_writer.py`.
"""

from __future__ import annotations

import gzip
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

import structlog

from ksmtrio.errors import BadInput
from ksmtrio.trace.format import BodyRecord, Footer, Header, Record, encode

_COMPRESSION_LEVEL: Final = 6


class _Sink:
    """A binary file whose flush does nothing: the logger flushes each line, gzip must not.

    A full disk must not look like a fault of the execution that is being recorded: the first error
    is kept for the end of the trace.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._write = file.write
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write, unless that failed before."""
        if self.error is None:
            try:
                return self._write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Leave it to the end of the trace."""


def _as_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    """Last processor: the canonical JSON of the record, made once and shared with the digest."""
    line: bytes | None = event.get("line")
    record: Record = event["record"]
    return encode(record) if line is None else line


class TraceWriter:
    """Writes one trace; use as a context manager.

    Args:
        path: ``.jsonl`` or ``.jsonl.gz``.

    Raises:
        BadInput: another suffix, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        check_trace_suffix(path)
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._raw = path.open("wb")
        except OSError as error:
            raise _unwritable(path, error) from error
        self._file: BinaryIO = self._raw
        if path.name.endswith(".gz"):
            packed = gzip.GzipFile(
                filename="", mode="wb", compresslevel=_COMPRESSION_LEVEL, fileobj=self._raw, mtime=0
            )
            self._file = cast("BinaryIO", packed)
        self._sink = _Sink(self._file)
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
        """Write an event, choice or finding; a sink of the recorder."""
        self._log.info("body", record=record, line=line)

    def footer(self, footer: Footer) -> None:
        """Write the last record."""
        self._log.info("footer", record=footer)

    def close(self) -> None:
        """Finish the file.

        Raises:
            BadInput: some of it could not be written.
        """
        try:
            if self._file is not self._raw:
                self._file.close()
            self._raw.close()
        except OSError as error:
            self._sink.error = self._sink.error or error
        if self._sink.error is not None:
            raise _unwritable(self._path, self._sink.error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def _unwritable(path: Path, error: OSError) -> BadInput:
    return BadInput(f"{path}: cannot be written: {error.strerror or error}")


def check_trace_suffix(path: Path) -> None:
    """Refuse a file name that no reader would take for a trace.

    Raises:
        BadInput: the suffix is neither ``.jsonl`` nor ``.jsonl.gz``.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise BadInput(f"{path}: a trace ends in .jsonl or .jsonl.gz")
