# SPDX-License-Identifier: GPL-2.0-or-later
"""The writer: JSON Lines, plain or gzipped, the same bytes each time, and a pipeline of its own."""

from __future__ import annotations

import gzip
import json
import os
from functools import partial
from pathlib import Path

import pytest
import structlog

from ksmtrio import execution
from ksmtrio.errors import BadInput
from ksmtrio.execution import run
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.trace.format import encode
from ksmtrio.trace.reader import read_trace
from ksmtrio.trace.writer import TraceWriter
from tests.unit.trace_files import BODY, FOOTER, HEADER, write


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


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_trace_that_no_reader_would_take_is_not_written(tmp_path, name):
    whole = sum(len(encode(record)) + 1 for record in (HEADER, *BODY, FOOTER))

    def write_at_most(bytes_max):
        with TraceWriter(tmp_path / name, bytes_max=bytes_max) as writer:
            writer.header(HEADER)
            for record in BODY:
                writer.body(record, encode(record))
            writer.footer(FOOTER)

    write_at_most(whole)
    assert read_trace(tmp_path / name, bytes_max=whole).footer == FOOTER
    for bytes_max in (whole - 1, 200):
        with pytest.raises(BadInput, match=f"the trace is larger than {bytes_max} bytes"):
            write_at_most(bytes_max)
        assert list(tmp_path.iterdir()) == []


def test_execution_ends_once_its_trace_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "TraceWriter", partial(TraceWriter, bytes_max=8_000))
    path = tmp_path / "t.jsonl"
    with pytest.raises(BadInput, match=r"t\.jsonl: cannot be written: the trace is larger"):
        run(load_scenario("first_race"), build_kernel(), StrategySpec("random", 0), record=path)
    assert list(tmp_path.iterdir()) == []


def test_trace_that_was_not_finished_is_removed(tmp_path):
    def fail():
        with TraceWriter(tmp_path / "t.jsonl") as writer:
            writer.header(HEADER)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.jsonl")
    with pytest.raises(BadInput, match="FIFO"):
        TraceWriter(tmp_path / "t.jsonl")


def test_errors_name_what_the_user_knows(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"^traces: cannot be written"):
        TraceWriter(tmp_path / "file" / ".t.part.jsonl", shown=Path("traces"))


@pytest.mark.parametrize("name", ["t.json", "t", "t.jsonl.zip"])
def test_other_suffix_is_bad_input(tmp_path, name):
    with pytest.raises(BadInput, match=r"ends in \.jsonl or \.jsonl\.gz"):
        TraceWriter(tmp_path / name)


def test_file_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        TraceWriter(tmp_path / "file" / "t.jsonl")
