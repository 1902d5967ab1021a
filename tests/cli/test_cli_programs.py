# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that are no kernels at the command line: run, stress, their traces, bad input."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import ksmtrio
from ksmtrio.cli.main import cli

MINE = """
from ksmtrio.sched import Program, bind

def lost_update(p: Program, nr_tasks: int) -> None:
    word = p.cell("word", 0)

    async def adder() -> None:
        await word.write("add.2", await word.read("add.1") + 1)

    for number in range(nr_tasks):
        p.task(f"adder{number}", adder, like="adder")
    p.at_end(lambda: p.check(word.value == nr_tasks, "an update got lost"))

two = bind(lost_update, 2)
one = bind(lost_update, 1)
"""


def invoke(*arguments: str):
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE, encoding="utf-8")


def found_trace() -> str:
    result = invoke("stress", "mine.py:two", "--runs", "40", "--jobs", "1", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    (finding,) = report["findings"]
    assert finding["signature"] == "bugs:assertion@end"
    assert finding["scenario"] == "mine.py:two"
    assert finding["command"] == f"ksmtrio replay {finding['trace']}"
    return finding["trace"]


def test_run_executes_a_program_and_replay_repeats_it():
    result = invoke("run", "mine.py:one", "--record", "one.jsonl")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "clean: mine.py:one")
    header = json.loads(Path("one.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (header["program"]["file"], header["program"]["instance"]) == ("mine.py", "one")
    assert invoke("replay", "one.jsonl").exit_code == 0
    assert invoke("replay", "one.jsonl", "--host", "bare").exit_code == 0


def test_finding_of_stress_is_saved_and_replays():
    result = invoke("replay", found_trace())
    assert result.exit_code == 0
    assert "bugs:assertion@end" in result.stdout


def test_trace_of_a_program_needs_its_file_as_it_was():
    trace = found_trace()
    Path("mine.py").write_text(MINE + "\nraise SystemExit(9)\n", encoding="utf-8")
    result = invoke("replay", trace)
    assert result.exit_code == 2
    assert "mine.py: is not the file that was recorded" in result.stderr
    Path("mine.py").unlink()
    result = invoke("replay", trace)
    assert result.exit_code == 2
    assert "to replay a trace of a program takes its file" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_program_and_commands_of_the_manual_work():
    page = (Path(ksmtrio.__file__).parent / "manual" / "programs.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    Path("lost_update.py").write_text(program, encoding="utf-8")
    for command in commands.splitlines():
        name, *arguments = shlex.split(command)
        assert name == "ksmtrio"
        assert invoke(*arguments).exit_code in {0, 1}, command


@pytest.mark.parametrize("verb", ["run", "stress"])
@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("gone.py:two", "gone.py: cannot be read: No such file or directory"),
        ("mine.py:three", "no program 'three'; there are: two, one"),
        ("mine.py:bind", "no program 'bind'; there are: two, one"),
        ("mine.py", "a program needs a name, FILE.py:NAME; there are: two, one"),
        ("bad.py:x", "bad.py: raises ZeroDivisionError: division by zero"),
    ],
)
def test_bad_program_is_one_line_and_code_2(verb: str, program: str, complaint: str):
    Path("bad.py").write_text("1 / 0\n", encoding="utf-8")
    result = invoke(verb, program)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
