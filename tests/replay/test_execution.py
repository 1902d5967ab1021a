# SPDX-License-Identifier: GPL-2.0-or-later
"""One execution is a pure function of scenario, kernel and choices, whatever made the choices."""

from __future__ import annotations

import pytest
import trio

import ksmtrio.execution as execution_module
from ksmtrio.campaign.behaviours import ClassCount
from ksmtrio.campaign.workers import Job, run_job
from ksmtrio.errors import EmulatorError, ReplayDiverged
from ksmtrio.execution import execute, probed, record_execution, replay_trace, run_execution
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario, sample_names
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies import StrategySpec, build, resolve
from ksmtrio.subject import KernelSubject
from ksmtrio.trace.reader import read_trace
from ksmtrio.trace.recorder import Recorder

KERNEL = build_kernel()
BROKEN = build_kernel(without=["ksm_notifier_first"])
SCENARIO = load_scenario("first_race")
SPECS = [
    StrategySpec("random", 1),
    StrategySpec("round-robin", 8),
    StrategySpec("pct", 3, 3, 40),
]


def recorded(plan, **options):
    return run_execution(SCENARIO, BROKEN, plan, recorder=Recorder(), **options)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_choices_alone_give_the_same_execution(spec):
    made = recorded(spec)
    assert recorded(made.choices) == made
    assert recorded(build(spec)) == made


def test_recording_does_not_change_the_execution():
    made = run_execution(SCENARIO, BROKEN, SPECS[0])
    again = recorded(SPECS[0])
    assert (made.choices, made.findings, made.points) == (
        again.choices,
        again.findings,
        again.points,
    )
    assert made.event_digest is None


def test_many_executions_share_one_event_loop():
    async def many():
        return [await execute(SCENARIO, BROKEN, SPECS[0], recorder=Recorder()) for _ in range(3)]

    assert len({outcome.event_digest for outcome in trio.run(many)}) == 1


def test_choices_that_do_not_fit_diverge():
    made = recorded(SPECS[0])
    schedule = made.choices.schedule
    with pytest.raises(ReplayDiverged, match="ended before"):
        recorded(Choices(schedule[:-1]))
    with pytest.raises(ReplayDiverged, match="actors are enabled"):
        recorded(Choices([7, *schedule[1:]]))
    assert recorded(Choices([7, 8, 9]), exact=False).points > 0


def test_fault_of_ours_is_no_finding(monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr(execution_module, "build_machine", broken)
    with pytest.raises(EmulatorError, match="first_race: RuntimeError: boom"):
        run_execution(SCENARIO, KERNEL, SPECS[0])


def test_probe_tells_how_long_executions_are_and_what_actors_share():
    profile = probed(KernelSubject(SCENARIO, KERNEL))
    made = run_execution(SCENARIO, KERNEL, StrategySpec("round-robin", 0))
    assert profile.choices >= len(made.choices.schedule) > 1
    assert len(profile.steps) == len(SCENARIO.actors)
    assert all(profile.steps)
    assert profile.shared
    for _, counts in profile.shared:
        assert sum(count > 0 for count in counts) > 1
        assert all(count <= steps for count, steps in zip(counts, profile.steps, strict=True))


@pytest.mark.parametrize("name", sample_names())
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_every_scenario_replays_from_its_trace(tmp_path, name, suffix):
    path = tmp_path / f"t{suffix}"
    made = trio.run(
        record_execution, load_scenario(name), KERNEL, resolve(None, 1, points=300), path
    )
    result = replay_trace(path)
    assert result.same
    assert result.points == made.points
    trace = read_trace(path)
    assert trace.choices == made.choices
    assert trace.footer.events_digest == made.event_digest


def test_trace_holds_all_that_a_replay_needs(tmp_path):
    text = SCENARIO.text
    path = tmp_path / "t.jsonl"
    trio.run(record_execution, SCENARIO, BROKEN, SPECS[2], path)
    header = read_trace(path).header
    assert header.scenario.text == text
    assert header.kernel.switches == BROKEN.switches()
    assert (header.strategy.name, header.seed, header.strategy.depth) == ("pct", 3, 3)


def job(**changes):
    wanted = {
        "subject": KernelSubject(SCENARIO, BROKEN),
        "strategy": None,
        "depth": None,
        "first_seed": 0,
        "count": 40,
    }
    return Job(**(wanted | changes))


def test_job_in_two_halves_finds_the_same():
    whole = run_job(job())
    first, second = run_job(job(count=20)), run_job(job(first_seed=20, count=20))
    assert whole.executions == first.executions + second.executions == 40
    assert whole.points == first.points + second.points
    assert whole.counts == first.counts + second.counts
    assert whole.marks == first.marks + second.marks
    merged = ClassCount()
    for half in (first, second):
        merged.update(half.executions, half.schedules)
    assert merged.rows() == list(whole.schedules)


def test_job_returns_the_choices_of_what_it_found():
    result = run_job(job())
    assert result.sightings
    for sighting in result.sightings:
        again = run_execution(SCENARIO, BROKEN, sighting.choices)
        assert sighting.finding in again.findings


def test_job_stops_at_the_finding_it_was_told_of():
    result = run_job(job(count=2000, stop_at=("locks", "foreign-unlock")))
    assert result.stopped
    assert result.executions < 2000


def test_job_over_its_budget_stops_after_one_execution():
    assert run_job(job(budget_s=0.0)).executions == 1


def test_job_reports_a_fault_with_all_that_is_needed_to_see_it_again(monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr(execution_module, "build_machine", broken)
    result = run_job(job(strategy="random", first_seed=6))
    assert result.executions == 0
    for word in ("boom", "first_race", "seed 6", "ksm_notifier_first", "random"):
        assert word in result.fault
