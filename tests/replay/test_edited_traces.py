# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace edited by hand ends `replay` with the promised code and one clear line."""

from __future__ import annotations

import gzip
import json

import pytest
import trio
from click.testing import CliRunner

from ksmtrio.cli.main import cli
from ksmtrio.execution import record_execution
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.strategies import StrategySpec

HUGE_BYTES = 200 << 20


@pytest.fixture(name="trace", scope="module")
def recorded_trace(tmp_path_factory):
    """One recorded execution."""
    path = tmp_path_factory.mktemp("traces") / "t.jsonl"
    kernel = build_kernel(without=["ksm_notifier_first"])
    spec = StrategySpec("random", 4)
    trio.run(record_execution, load_scenario("first_race"), kernel, spec, path)
    return path.read_bytes()


def edit(trace, choose, change):
    """Change the first record that `choose` picks."""
    lines = [json.loads(line) for line in trace.splitlines()]
    change(next(line for line in lines if choose(line)))
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def replay(path, data=None, *options):
    if data is not None:
        path.write_bytes(data)
    result = CliRunner().invoke(cli, ["replay", str(path), *options])
    lines = result.stderr.splitlines()
    return result, lines


def is_choice(line):
    return line["record"] == "choice"


def is_event(line):
    return line["record"] == "event"


def refused(path, data=None):
    result, lines = replay(path, data)
    assert result.exit_code == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"ksmtrio: error: {path}")
    return lines[0]


def diverged(path, data):
    result, lines = replay(path, data)
    assert result.exit_code == 3
    assert len(lines) == 1, lines
    assert "replay diverged" in lines[0]
    assert "  - " in result.stdout
    assert "  + " in result.stdout
    return result.stdout


def test_untouched_trace_is_the_same(tmp_path, trace):
    result, lines = replay(tmp_path / "t.jsonl", trace)
    assert (result.exit_code, lines) == (0, [])
    result, lines = replay(tmp_path / "t.jsonl.gz", gzip.compress(trace))
    assert (result.exit_code, lines) == (0, [])


@pytest.mark.parametrize(
    ("choose", "change"),
    [
        (is_event, lambda line: line["fields"].update(value=12345)),
        (is_event, lambda line: line.update(point="f.1")),
        (is_event, lambda line: line.update(step=line["step"] + 1)),
        (is_event, lambda line: line.update(actor="nobody")),
        (is_choice, lambda line: line.update(index=1 - line["index"])),
        (is_choice, lambda line: line.update(index=99)),
        (is_choice, lambda line: line.update(of=9)),
        (is_choice, lambda line: line.update(what="nobody")),
        (is_choice, lambda line: line.update(stream="data")),
        (lambda line: line["record"] == "finding", lambda line: line.update(message="fine")),
        (lambda line: line["record"] == "footer", lambda line: line.update(points=1)),
        (lambda line: line["record"] == "footer", lambda line: line.update(verdict="clean")),
        (
            lambda line: line["record"] == "footer",
            lambda line: line.update(machine_digest="0" * 32),
        ),
    ],
)
def test_changed_event_or_choice_diverges(tmp_path, trace, choose, change):
    diverged(tmp_path / "t.jsonl", edit(trace, choose, change))


def test_removed_or_added_record_diverges(tmp_path, trace):
    lines = trace.splitlines(keepends=True)
    diverged(tmp_path / "less.jsonl", b"".join(lines[:9] + lines[10:]))
    diverged(tmp_path / "more.jsonl", b"".join([*lines[:9], lines[9], *lines[9:]]))


def test_other_kernel_in_the_header_diverges(tmp_path, trace):
    def change(line):
        line["kernel"]["switches"]["ksm_notifier_first"] = True

    diverged(tmp_path / "t.jsonl", edit(trace, lambda line: line["record"] == "header", change))


def test_truncated_trace_is_refused(tmp_path, trace):
    lines = trace.splitlines(keepends=True)
    assert "truncated" in refused(tmp_path / "footer.jsonl", b"".join(lines[:-1]))
    assert "not JSON" in refused(tmp_path / "half.jsonl", trace[: len(trace) // 2])
    assert "gzip" in refused(tmp_path / "t.jsonl.gz", gzip.compress(trace)[:-100])


def test_what_is_not_json_is_refused(tmp_path):
    assert ":1: not JSON" in refused(tmp_path / "t.jsonl", b"this is not a trace\n")


def test_unknown_version_is_refused(tmp_path, trace):
    def change(line):
        line["format"] = 7

    data = edit(trace, lambda line: line["record"] == "header", change)
    assert "trace format 7 is unknown; this ksmtrio reads 1" in refused(tmp_path / "t.jsonl", data)


def test_huge_garbage_is_refused(tmp_path):
    path = tmp_path / "t.jsonl"
    with path.open("wb") as file:
        file.truncate(HUGE_BYTES)
    assert "a trace has at most" in refused(path)


def test_unusable_scenario_in_the_header_is_refused(tmp_path, trace):
    def change(line):
        line["scenario"]["text"] = "format = 1\nsurprise = 2\n"

    data = edit(trace, lambda line: line["record"] == "header", change)
    result, lines = replay(tmp_path / "t.jsonl", data)
    assert result.exit_code == 2
    assert len(lines) == 1


def test_worst_of_several_traces_wins(tmp_path, trace):
    good, differs, bad = (tmp_path / f"{name}.jsonl" for name in ("good", "differs", "bad"))
    good.write_bytes(trace)
    bad.write_bytes(b"")
    differs.write_bytes(edit(trace, is_event, lambda line: line.update(point="f.1")))
    run = CliRunner().invoke
    assert run(cli, ["replay", str(good), str(good)]).exit_code == 0
    assert run(cli, ["replay", str(bad), str(good)]).exit_code == 2
    result = run(cli, ["replay", str(bad), str(differs), str(good), "--json"])
    assert result.exit_code == 3
    rows = json.loads(result.stdout)["traces"]
    assert [row["same"] for row in rows] == [False, False, True]
    assert [row["file"] for row in rows] == [str(bad), str(differs), str(good)]
    assert rows[1]["first_difference"]["recorded"]["point"] == "f.1"
    assert rows[1]["first_difference"]["replayed"]["point"] != "f.1"
    assert "empty" in rows[0]["error"]
