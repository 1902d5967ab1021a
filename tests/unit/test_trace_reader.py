# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader refuses everything that is no whole trace, with one line that says where and why."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from ksmtrio.errors import TraceError
from ksmtrio.sched.choices import Choices
from ksmtrio.trace import reader
from ksmtrio.trace.reader import TRACE_BYTES_MAX, read_trace
from tests.unit.trace_files import CHOICE, EVENT, FINDING, FOOTER, HEADER, write


def refused(path, **limits):
    with pytest.raises(TraceError) as caught:
        read_trace(path, **limits)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def edited(path, change):
    """Write a trace whose lines, as plain data, went through `change`."""
    write(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_trace_comes_back_as_it_was_written(tmp_path, name):
    trace = read_trace(write(tmp_path / name))
    assert trace.header == HEADER
    assert trace.footer == FOOTER
    assert trace.choices == Choices(schedule=[1])
    assert trace.findings == (FINDING,)
    assert [record for _, record in trace.body()] == [CHOICE, EVENT, FINDING]
    assert list(trace.events()) == [EVENT.to_event()]
    assert trace.records == 5


def test_compression_is_told_by_content(tmp_path):
    path = write(tmp_path / "t.jsonl.gz")
    assert read_trace(path.rename(tmp_path / "t.jsonl")).header == HEADER


def test_last_line_needs_no_end(tmp_path):
    path = write(tmp_path / "t.jsonl")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_trace(path).footer == FOOTER


def test_trace_without_footer_is_truncated(tmp_path):
    path = edited(tmp_path / "t.jsonl", lambda lines: lines.pop())
    assert ":4: truncated; a trace ends with a footer" in refused(path)


def test_half_a_line_is_not_json(tmp_path):
    path = write(tmp_path / "t.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    assert ":5: not JSON" in refused(path)


def test_half_a_gzip_file_is_truncated(tmp_path):
    path = write(tmp_path / "t.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-30])
    assert "gzip" in refused(path)


def test_damaged_gzip_data_is_refused(tmp_path):
    path = write(tmp_path / "t.jsonl.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "the file is empty"),
        (b"\n", ":1: not JSON"),
        (b"hello\n", ":1: not JSON"),
        (b"\x00\xff\xfe" * 100, ":1: not JSON"),
        (b"[" * 100_000 + b"\n", ":1: "),
        (b'{"record":"header"}\n', ":1: not a valid record"),
        (b'{"record":"header","format":99,"new":[]}\n', "trace format 99 is unknown"),
        (b'{"record":"footer"}\n', ":1: not a valid record"),
        (b"\x28\xb5\x2f\xfd rest", "zstd"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, data, expected):
    path = tmp_path / "t.jsonl"
    path.write_bytes(data)
    assert expected in refused(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines.insert(1, lines[0]), ":2: the header must be the first"),
        (lambda lines: lines.append(lines[4]), ":6: a record after the footer"),
        (lambda lines: lines.insert(4, lines[2]), ":5: only findings and the footer"),
        (lambda lines: lines[2].update(step=-1), ":3: not a valid record"),
        (lambda lines: lines[2].update(surprise=1), ":3: not a valid record"),
        (lambda lines: lines[1].update(index="1"), ":2: not a valid record"),
        (lambda lines: lines[4].update(verdict="fine"), ":5: not a valid record"),
        (lambda lines: lines[4].update(events_digest="xyz"), ":5: not a valid record"),
        (lambda lines: lines[0]["kernel"].update(name="v9"), ":1: kernel.name 'v9' is unknown"),
        (lambda lines: lines[0]["kernel"]["switches"].update(zap=True), "'zap' is not a switch"),
    ],
)
def test_edited_trace_is_refused_with_its_line(tmp_path, change, expected):
    assert expected in refused(edited(tmp_path / "t.jsonl", change))


def test_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    with path.open("wb") as file:
        file.truncate(TRACE_BYTES_MAX + 1)

    def refuse(*_):
        raise AssertionError("the file was opened")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert f"more than {TRACE_BYTES_MAX} bytes" in refused(path)


def test_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path):
    path = write(tmp_path / "t.jsonl.gz")
    line = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(line[0] + line[2] * 100_000, mtime=0))
    limit = 1 << 20
    assert path.stat().st_size < limit
    assert f"unpacks to more than {limit} bytes" in refused(path, bytes_max=limit)


def test_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "LINE_BYTES_MAX", 1 << 12)
    path = tmp_path / "t.jsonl"
    path.write_bytes(b" " * (1 << 13))
    assert "the line is too long" in refused(path)


def test_fifo_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "t.jsonl"
    os.mkfifo(path)
    assert "is no regular file" in refused(path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_file_whose_first_bytes_cannot_be_read_is_refused():
    assert "cannot be read" in refused(Path("/proc/self/mem"))


def test_what_cannot_be_opened_is_refused(tmp_path):
    assert "cannot be read" in refused(tmp_path / "missing.jsonl")
    assert "is a directory" in refused(tmp_path)
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace("a\x00b")
