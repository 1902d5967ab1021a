# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks of strategies: trials, what counts, censoring, and going on where one stopped."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from ksmtrio.campaign.bench_strategies import (
    BenchPlan,
    Cell,
    StrategiesReport,
    Target,
    Trial,
    all_strategies,
    bench_strategies,
    program_targets,
    race_targets,
    run_trial,
    select,
)
from ksmtrio.campaign.depths import load_races
from ksmtrio.errors import BadInput
from ksmtrio.subject import load_subject

PROGRAM = """
from ksmtrio.sched import Program


def racy(p: Program) -> None:
    word = p.cell("word", 0)

    async def inc() -> None:
        await word.write("inc.2", await word.read("inc.1") + 1)

    p.task("a", inc)
    p.task("b", inc)
    p.at_end(lambda: p.check(word.value == 2, "an update was lost"))
"""

CATALOGUE = """
[sources]
paper = "A Paper, 2001"

[[programs]]
program = "racy.py:racy"
finding = "bugs:assertion"
depth = 2
published = [{ source = "paper", text = "random: 4 schedules" }]

[[programs]]
program = "racy.py:other"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a program and its catalogue."""
    (tmp_path / "racy.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "catalogue.toml").write_text(CATALOGUE, encoding="utf-8")
    return tmp_path


def test_programs_in_which_there_is_something_to_find_are_targets(folder: Path) -> None:
    (target,) = program_targets(folder)
    assert (target.name, target.group, target.depth) == ("racy", "program", 2)
    assert target.published == ("random: 4 schedules [A Paper, 2001]",)
    assert target.counts("bugs:assertion@inc.2")
    assert not target.counts("bugs:BUG_ON@inc.2")
    assert program_targets(folder / "catalogue.toml") == [target]


def test_a_catalogue_that_cannot_be_used_is_bad_input(folder: Path) -> None:
    file = folder / "catalogue.toml"
    file.write_text(CATALOGUE.replace("paper =", "newspaper ="), encoding="utf-8")
    with pytest.raises(BadInput, match="has no 'paper'"):
        program_targets(folder)
    file.write_text('programs = "none"', encoding="utf-8")
    with pytest.raises(BadInput):
        program_targets(folder)
    file.write_text('[[programs]]\nprogram = "racy.py:racy"\n', encoding="utf-8")
    for where in (folder, folder / "absent"):
        with pytest.raises(BadInput):
            program_targets(where)


def test_races_that_can_be_found_are_targets() -> None:
    targets = race_targets()
    assert [target.name for target in targets] == [r.name for r in load_races() if r.depth]
    assert {target.group for target in targets} == {"switch", "defect"}


def test_select_takes_names_and_refuses_others(folder: Path) -> None:
    targets = program_targets(folder)
    assert select(targets, ()) == tuple(targets)
    assert select(targets, ["racy"]) == tuple(targets)
    with pytest.raises(BadInput, match="choose one of: racy"):
        select(targets, ["tidy"])


@pytest.mark.parametrize("strategy", [*all_strategies()])
def test_a_trial_ends_with_the_execution_that_shows_it(folder: Path, strategy: str) -> None:
    (target,) = program_targets(folder)
    trial = run_trial(target, strategy, 3, 200)
    assert trial == run_trial(target, strategy, 3, 200)
    assert trial.found == (trial.executions < 200)
    if trial.found and trial.executions > 1:
        assert not run_trial(target, strategy, 3, trial.executions - 1).found


def test_trials_have_seeds_of_their_own(folder: Path) -> None:
    (target,) = program_targets(folder)
    lengths = {run_trial(target, "random", trial, 200).executions for trial in range(12)}
    assert len(lengths) > 1


def test_a_trial_that_finds_nothing_is_censored(folder: Path) -> None:
    target = Target(
        name="t",
        group="program",
        depth=None,
        subject=load_subject(f"{folder}/racy.py:racy"),
        finding="bugs:BUG_ON",
    )
    assert run_trial(target, "random", 0, 5) == Trial("t", "random", 0, 5, found=False)


def test_quantiles_are_executions_of_trials_and_say_where_they_lie_beyond_the_limit() -> None:
    cell = Cell((1, 2, 3, 4, 5, 6, 7, None, None, None), 100)
    assert cell.quantile(0.5) == 5
    assert cell.quantile(0.9) is None
    assert cell.text(0.5) == "5"
    assert cell.text(0.9) == ">100 (7/10)"
    assert cell.to_json()["found"] == 7
    assert Cell((), 100).text(0.5) == "-"


def plan_of(folder: Path, *, trials: int, runs_max: int = 50) -> BenchPlan:
    """Return the plan that the following tests have in common."""
    return BenchPlan(
        targets=tuple(program_targets(folder)),
        strategies=("random", "pct"),
        trials=trials,
        runs_max=runs_max,
        results=folder / "results.jsonl",
    )


def test_what_is_done_is_kept_and_not_done_again(folder: Path) -> None:
    told: list[Trial] = []
    first = bench_strategies(plan_of(folder, trials=2), lambda trial, _: told.append(trial))
    assert len(told) == 4
    assert set(first.best("racy")) <= {"random", "pct"}
    assert first.todo == 0
    again = bench_strategies(plan_of(folder, trials=3), lambda trial, _: told.append(trial))
    assert len(told) == 6
    assert again.cells["racy"]["random"].executions
    assert len((folder / "results.jsonl").read_bytes().splitlines()) == 6
    assert bench_strategies(plan_of(folder, trials=3)).to_json() == again.to_json()


def test_kept_trials_say_nothing_beyond_their_limit(folder: Path) -> None:
    (folder / "results.jsonl").write_text(
        '{"target":"racy","strategy":"random","trial":0,"executions":40,"found":true}\n'
        '{"target":"racy","strategy":"pct","trial":0,"executions":30,"found":false}\n'
    )
    told: list[Trial] = []
    short = bench_strategies(
        plan_of(folder, trials=1, runs_max=30), lambda trial, _: told.append(trial)
    )
    assert not told
    assert short.cells["racy"]["random"].executions == (None,)
    assert short.best("racy") == ()
    bench_strategies(plan_of(folder, trials=1, runs_max=50), lambda trial, _: told.append(trial))
    assert [trial.strategy for trial in told] == ["pct"]


def test_a_line_that_was_cut_off_is_done_again(folder: Path) -> None:
    plan, file = plan_of(folder, trials=2), folder / "results.jsonl"
    report = bench_strategies(plan).to_json()
    lines = file.read_bytes()
    file.write_bytes(lines[:-9])
    assert bench_strategies(plan).to_json() == report
    assert file.read_bytes() == lines


def test_a_measurement_without_time_says_what_it_did_not_do(folder: Path) -> None:
    told: list[int] = []
    plan = attrs.evolve(plan_of(folder, trials=3), seconds=0)
    assert bench_strategies(plan).todo == 6
    bench_strategies(attrs.evolve(plan, seconds=None), lambda _, left: told.append(left))
    assert told == [5, 4, 3, 2, 1, 0]


def test_strategies_with_the_same_median_are_all_the_best(folder: Path) -> None:
    cells = {"random": Cell((2, 3), 50), "pct": Cell((2, None), 50)}
    report = StrategiesReport(plan_of(folder, trials=2), {"racy": cells})
    assert report.best("racy") == ("random", "pct")


def test_a_file_of_something_else_is_bad_input(folder: Path) -> None:
    (folder / "results.jsonl").write_text("hello\n", encoding="utf-8")
    with pytest.raises(BadInput, match="no results"):
        bench_strategies(plan_of(folder, trials=1))
