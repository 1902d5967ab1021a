# SPDX-License-Identifier: GPL-2.0-or-later
"""The writer: JSON Lines, plain or gzipped, the same bytes each time, and a pipeline of its own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import structlog

from ksmtrio.errors import BadInput
from ksmtrio.trace.writer import TraceWriter
from tests.unit.trace_files import BODY, write


def test_each_line_is_one_record(tmp_path):
    lines = write(tmp_path / "t.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["record"] for line in lines] == [
        "header",
        "choice",
        "event",
        "finding",
        "footer",
    ]


def test_nothing_but_the_record_is_in_a_line(tmp_path):
    event = json.loads(write(tmp_path / "t.jsonl").read_bytes().splitlines()[2])
    assert list(event) == ["record", "step", "actor", "point", "event", "fields"]


def test_compressed_trace_holds_the_same_and_no_time(tmp_path):
    plain = write(tmp_path / "t.jsonl").read_bytes()
    packed = write(tmp_path / "t.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert packed == write(tmp_path / "other.jsonl.gz").read_bytes()


def test_global_configuration_is_neither_used_nor_touched(tmp_path):
    def refuse(*_):
        raise AssertionError("the writer used the global pipeline")

    before = structlog.get_config()
    structlog.configure(processors=[refuse])
    try:
        write(tmp_path / "t.jsonl")
    finally:
        structlog.configure(**before)


def test_directories_are_made(tmp_path):
    assert write(tmp_path / "a" / "b" / "t.jsonl").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_full_disk_is_bad_input_once_the_trace_ends(tmp_path, name):
    path = tmp_path / name
    path.symlink_to("/dev/full")
    with pytest.raises(BadInput, match="cannot be written: No space left"):
        write(path, BODY * 1000)


@pytest.mark.parametrize("name", ["t.json", "t", "t.jsonl.zip"])
def test_other_suffix_is_bad_input(tmp_path, name):
    with pytest.raises(BadInput, match=r"ends in \.jsonl or \.jsonl\.gz"):
        TraceWriter(tmp_path / name)


def test_file_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        TraceWriter(tmp_path / "file" / "t.jsonl")
