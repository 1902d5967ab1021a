# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio explore``: systematic search, its verdicts, saving, and fix-checking."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ksmtrio.campaign.interruption import Interruption
from ksmtrio.cli.main import cli
from ksmtrio.errors import BadInput

PROGRAMS = """
import os
from multiprocessing import parent_process

from ksmtrio.errors import EmulatorError
from ksmtrio.sched import Program, bind

def counting(p: Program, nr_tasks: int, locked: bool) -> None:
    word, lock = p.cell("word", 0), p.lock("lock")

    async def body() -> None:
        if locked:
            await lock.acquire("t.1")
        await word.write("t.3", await word.read("t.2") + 1)
        if locked:
            await lock.release("t.4")

    for number in range(nr_tasks):
        p.task(f"t{number}", body, like="t")
    p.at_end(lambda: p.check(word.value == nr_tasks, "an update got lost"))

lost_2 = bind(counting, 2, False)
lost_3 = bind(counting, 3, False)
safe_2 = bind(counting, 2, True)

def long(p: Program, what: str) -> None:
    word = p.cell("word", 0)
    in_worker = parent_process() is not None

    async def body() -> None:
        for step in range(4):
            await word.write(f"t.{step}", await word.read(f"t.{step}") + 1)
        if what == "faults" and (word.value == 5 or in_worker):
            raise EmulatorError("a fault of ours")
        if what == "die" and in_worker:
            os._exit(9)

    if what == "undescribed" and in_worker:
        raise ValueError("not here")
    for number in range(4):
        p.task(f"t{number}", body)

endless = bind(long, "")
faults = bind(long, "faults")
dies = bind(long, "die")
undescribed = bind(long, "undescribed")
"""
WAYS = (
    ("--strategy", "dfs", "--unbounded"),
    ("--strategy", "dpor"),
    ("--strategy", "dpor", "--mode", "source"),
    ("--strategy", "stateful"),
)


@pytest.fixture(autouse=True)
def _programs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.py").write_text(PROGRAMS, encoding="utf-8")


def run(*arguments: str):
    return CliRunner().invoke(cli, ["explore", "--host", "bare", "--jobs", "1", *arguments])


def report(*arguments: str):
    result = run(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_correct_program_is_complete_and_a_broken_one_a_finding(way) -> None:
    code, safe = report("p.py:safe_2", *way)
    assert (code, safe["verdict"], safe["complete"], safe["findings"]) == (0, "complete", True, [])
    code, lost = report("p.py:lost_2", *way)
    assert (code, lost["verdict"], lost["complete"]) == (1, "finding", True)
    assert lost["final_states"] == 2
    replayed = CliRunner().invoke(cli, lost["findings"][0]["command"].split()[1:])
    assert replayed.exit_code == 0


def test_promised_keys_are_there() -> None:
    _, found = report("p.py:safe_2")
    assert list(found)[:10] == [
        "verdict",
        "complete",
        "bound",
        "executions",
        "redundant",
        "blocked",
        "states",
        "final_states",
        "seconds",
        "findings",
    ]


def test_budget_that_ends_early_is_undecided() -> None:
    code, found = report("p.py:safe_2", "--unbounded", "--runs", "3")
    assert (code, found["verdict"], found["stopped"]) == (0, "undecided", "runs")
    assert found["executions"] == 3
    assert not found["complete"]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_saved_exploration_is_gone_on_with(way) -> None:
    _, whole = report("p.py:lost_3", *way)
    for part in range(100):
        resume = ("--resume", "saved") if part else ()
        _, found = report("p.py:lost_3", *way, "--runs", str(1 + part), "--save", "saved", *resume)
        if found["complete"]:
            break
    for key in ("executions", "redundant", "blocked", "states", "final_states", "complete"):
        assert found[key] == whole[key], key
    assert [f["signature"] for f in found["findings"]] == [
        f["signature"] for f in whole["findings"]
    ]


def test_saved_exploration_of_something_else_is_refused(tmp_path) -> None:
    run("p.py:lost_2", "--runs", "1", "--save", "saved")
    result = run("p.py:lost_3", "--resume", "saved")
    assert result.exit_code == 2
    assert "was saved with program 'p.py:lost_2'" in result.stderr
    (tmp_path / "saved").write_text("{}", encoding="utf-8")
    result = run("p.py:lost_3", "--resume", "saved")
    assert result.exit_code == 2
    assert "is no saved exploration" in result.stderr


def test_workers_cover_what_one_process_covers() -> None:
    arguments = ("first_race", "--bound", "1")
    _, alone = report(*arguments)
    _, together = report(*arguments, "--jobs", "2")
    for key in ("executions", "final_states", "complete", "verdict"):
        assert alone[key] == together[key], key


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_budgets_hold_with_any_number_of_workers(jobs: str) -> None:
    ways = ("p.py:endless", "--unbounded", "--jobs", jobs)
    report(*ways, "--time", "1", "--save", "saved")
    _, before = report(*ways, "--runs", "1", "--resume", "saved", "--save", "saved")
    _, after = report(*ways, "--runs", "301", "--resume", "saved")
    assert after["executions"] == before["executions"] + 301
    assert after["stopped"] == "runs"


def test_work_left_is_that_of_all_parts() -> None:
    ways = ("--strategy", "stateful", "--bound", "2", "--jobs", "2", "--time", "3")
    _, found = report("offline_vs_ksmd_tiny", *ways, "--save", "saved")
    parts = json.loads(Path("saved").read_text(encoding="utf-8"))["exploration"]["parts"]
    assert len(parts) > 1
    options = [len(branch[2]) for part in parts for branch in part["todo"]]
    assert found["work_left"] == pytest.approx(sum(options), rel=0.01)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted_exploration_keeps_its_results(jobs: str) -> None:
    ways = ("p.py:endless", "--unbounded", "--host", "bare", "--jobs", jobs, "--time", "60")
    process = subprocess.Popen(
        [sys.executable, "-m", "ksmtrio", "explore", *ways, "--json", "--save", "saved"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=4)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    found = json.loads(out)
    assert process.returncode == 130
    assert (found["stopped"], found["verdict"], found["fault"]) == (
        "interrupted",
        "undecided",
        None,
    )
    assert found["executions"] > 100
    _, more = report("p.py:endless", "--unbounded", "--resume", "saved", "--runs", "1")
    assert more["executions"] == found["executions"] + 1


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("faults", 4, "a fault of ours"),
        ("dies", 4, "a worker process died"),
        ("undescribed", 2, "ValueError: not here, while it was described"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_told_in_one_line(name, code, message) -> None:
    run(f"p.py:{name}", "--unbounded", "--runs", "50", "--save", "saved")
    result = run(f"p.py:{name}", "--unbounded", "--resume", "saved", "--jobs", "2", "--time", "9")
    assert result.exit_code == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_fault_keeps_what_was_seen_and_leaves_an_older_file_alone() -> None:
    ways = ("p.py:faults", "--strategy", "stateful", "--save", "saved", "--time", "9")
    report(*ways, "--runs", "3")
    older = Path("saved").read_bytes()
    code, found = report(*ways, "--resume", "saved")
    assert (code, found["stopped"], found["verdict"]) == (4, "fault", "undecided")
    assert "a fault of ours" in found["fault"]
    assert "the fault left no state" in found["unsaved"]
    assert Path("saved").read_bytes() == older


def test_memory_that_is_used_up_stops_a_search_which_goes_on_with_more(monkeypatch) -> None:
    ways = ("p.py:lost_3", "--strategy", "stateful", "--mode", "plain")
    _, whole = report(*ways)
    with monkeypatch.context() as patch:
        patch.setattr("ksmtrio.sched.exploration.stateful._BYTES_PER_STATE", 10_000_000)
        code, found = report(*ways, "--memory", "100", "--save", "saved")
    assert (code, found["stopped"], found["complete"]) == (0, "memory", False)
    assert "the memory of 100 MB is used up" in found["statement"]
    assert found["work_left"] > 0
    _, more = report(*ways, "--resume", "saved")
    for key in ("executions", "redundant", "states", "final_states", "complete"):
        assert more[key] == whole[key], key


def test_plans_that_were_dropped_are_left_out_for_good(monkeypatch) -> None:
    monkeypatch.setattr("ksmtrio.sched.exploration.dpor._PLANNED_PER_MB", 0)
    _, found = report("p.py:lost_3", "--strategy", "dpor")
    assert (found["stopped"], found["complete"], found["work_left"]) == ("left out", False, 0)
    assert "for want of memory" in found["statement"]


def test_findings_are_reported_though_no_trace_can_be_written(monkeypatch) -> None:
    async def full(*_: object) -> None:
        raise BadInput("the disk is full")

    monkeypatch.setattr("ksmtrio.campaign.explore.save_trace", full)
    code, found = report("p.py:lost_2")
    assert code == 2
    assert [one["trace"] for one in found["findings"]] == [None]
    assert found["unsaved"] == "the disk is full"


def test_a_file_that_cannot_be_saved_is_refused_before_anything_is_executed() -> None:
    result = run("p.py:lost_2", "--save", "nowhere/saved")
    assert result.exit_code == 2
    assert "nowhere/saved: cannot be written" in result.stderr


def test_distinct_behaviours_are_told_and_nothing_of_those_not_executed() -> None:
    _, found = report("p.py:lost_2", "--unbounded")
    seen = found["behaviours"]
    assert (seen["looked_at"], seen["distinct"]) == (found["executions"], 3)
    assert sum(seen["new_per_slice"]) == 3
    assert not [key for key in seen if "mass" in key or "bound" in key]
    assert "3 behaviours (3 by reads-from" in run("p.py:lost_2", "--unbounded").stdout
    ways = ("p.py:endless", "--unbounded", "--save", "saved")
    _, part = report(*ways, "--runs", "120")
    _, more = report(*ways, "--runs", "240", "--resume", "saved")
    assert 100 < part["behaviours"]["looked_at"] < 110
    assert 130 < more["behaviours"]["looked_at"] < 160


def test_an_interrupted_comparison_is_none(monkeypatch) -> None:
    monkeypatch.setattr(Interruption, "__enter__", interrupted)
    code, found = report("first_race", "--against", "pre-8")
    assert (code, found["stopped"]) == (130, "interrupted")
    assert "against" not in found


def interrupted(interruption: Interruption) -> Interruption:
    """Return it with a signal seen."""
    interruption.seen = True
    return interruption


def test_against_names_what_only_one_kernel_can_do() -> None:
    code, found = report(
        "first_race", "--bound", "1", "--runs", "150", "--against-without", "ksm_notifier_first"
    )
    assert code == 0
    against = found["against"]
    assert against["against"] == "v2.6.33 --without ksm_notifier_first"
    assert "locks:foreign-unlock" in "".join(row["name"] for row in against["differences"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("p.py:none",), "there are: lost_2"),
        (("p.py:safe_2", "--strategy", "bfs"), "choose one of: dfs, dpor, stateful"),
        (("p.py:safe_2", "--mode", "x"), "has no mode 'x'"),
        (("p.py:safe_2", "--bound", "1", "--unbounded"), "contradict"),
        (("p.py:safe_2", "--against", "pre-8"), "compares kernels"),
        (("p.py:safe_2", "--strategy", "dpor", "--bound", "1"), "bound"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, message) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
