# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio explore``: systematic search, its verdicts, saving, and fix-checking."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ksmtrio.cli.main import cli

PROGRAMS = """
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
