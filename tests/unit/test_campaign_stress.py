# SPDX-License-Identifier: GPL-2.0-or-later
"""How a campaign hands out seeds and what its ending means; no process is started here."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import trio

from ksmtrio.campaign import stress as stress_module
from ksmtrio.campaign.canary import Canary, canary_job, judge_canary
from ksmtrio.campaign.findings import SavedTrace, Sighting
from ksmtrio.campaign.stress import Campaign, Progress, StressPlan
from ksmtrio.campaign.workers import ChunkResult
from ksmtrio.cli import exit_codes
from ksmtrio.cli.output import duration, number
from ksmtrio.cli.progress import progress_text
from ksmtrio.errors import BadInput
from ksmtrio.kconfig import build_kernel
from ksmtrio.oracles.base import Finding
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.sched.strategies.session import BLOCK


def plan(names="abc", **changes):
    scenarios = tuple(SimpleNamespace(name=name, source=f"{name}.toml") for name in names)
    return StressPlan(subjects=scenarios, kernel=build_kernel(), **changes)


def result(**changes):
    empty = {
        "executions": 16,
        "points": 160,
        "seconds": 0.1,
        "sightings": (),
        "counts": Counter(),
        "marks": Counter(),
        "schedules": (),
    }
    return ChunkResult(**(empty | changes))


def test_runs_are_shared_out_over_scenarios():
    shares = [plan(runs=8).seeds_of(index) for index in range(3)]
    assert shares == [3, 3, 2]
    assert plan(seeds=5).seeds_of(0) == 5
    assert plan(seeds=5, runs=6).seeds_of(0) == 2
    assert plan(seconds=1.0).seeds_of(0) is None


def test_every_seed_is_handed_out_once_and_scenarios_take_turns():
    campaign = Campaign(plan("ab", runs=100, first_seed=5), known=())
    jobs = []
    while (found := campaign._next_job()) is not None:
        jobs.append(found)
    assert [index for index, _ in jobs[:4]] == [0, 1, 0, 1]
    for wanted in (0, 1):
        seeds = [
            seed
            for index, job in jobs
            if index == wanted
            for seed in range(job.first_seed, job.first_seed + job.count)
        ]
        assert seeds == list(range(5, 55))


def test_chunks_grow_to_what_a_worker_does_in_a_moment():
    campaign = Campaign(plan("a", runs=100_000), known=())
    _, first = campaign._next_job()
    campaign._feeds[0].learn(result(executions=first.count, seconds=0.001))
    _, second = campaign._next_job()
    campaign._feeds[0].learn(result(executions=second.count, seconds=60.0))
    _, third = campaign._next_job()
    assert first.count < second.count
    assert third.count == 1


@pytest.mark.parametrize("strategy", ["reads-from", "portfolio"])
def test_chunks_of_a_strategy_that_learns_end_with_blocks(strategy):
    campaign = Campaign(plan("a", runs=1_000, first_seed=70, strategy=strategy), known=())
    ends = []
    while (found := campaign._next_job()) is not None:
        _, job = found
        ends.append(job.first_seed + job.count)
        campaign._feeds[0].learn(result(executions=job.count, seconds=0.01))
    assert len(ends) > 2
    assert ends[0] == 2 * BLOCK
    assert all(end % BLOCK == 0 for end in ends[:-1])
    assert ends[-1] == 1_070


def test_campaign_without_anything_to_execute_is_bad_input():
    with pytest.raises(BadInput, match="no scenario"):
        Campaign(plan(""), known=())
    with pytest.raises(BadInput, match="nothing to execute"):
        Campaign(plan(seeds=0), known=())


def test_two_scenarios_of_one_name_are_bad_input():
    with pytest.raises(BadInput, match=r"a\.toml: a scenario named 'a' is in the campaign already"):
        Campaign(plan("aba"), known=())


def sighting(seed, signature="f.3"):
    seen = Finding(oracle="o", kind="k", point=signature, other="", message="BUG: k")
    return Sighting(seen, StrategySpec("random", seed), Choices())


def test_earlier_sighting_that_comes_while_one_is_saved_is_saved_too(tmp_path, monkeypatch):
    campaign = Campaign(plan("ab", traces=tmp_path), known=())
    a, b = campaign.plan.subjects

    async def save(subject, seen, directory):
        if seen.spec.seed == 9:
            campaign._note(a, sighting(4), 5)
            await trio.lowlevel.checkpoint()
        path = directory / f"{subject.name}-{seen.spec.seed}"
        path.write_text("x")
        return SavedTrace(path, created=True)

    monkeypatch.setattr(stress_module, "save_trace", save)
    campaign._note(b, sighting(9), 20)
    trio.run(campaign._save)
    assert [f.trace.name for f in campaign._findings.values()] == ["a-4"]
    assert [path.name for path in tmp_path.iterdir()] == ["a-4"]


@pytest.mark.parametrize("turned", [False, True])
def test_names_of_traces_do_not_depend_on_who_was_first(tmp_path, turned):
    campaign = Campaign(plan("ab"), known=())
    a, b = campaign.plan.subjects
    numbered = [(a, sighting(1, "f.1#2"), 3), (a, sighting(2, "f.1-2"), 5), (b, sighting(0), 5)]
    for place, (scenario, seen, first) in enumerate(numbered[:: -1 if turned else 1]):
        campaign._note(scenario, seen, first)
        path = tmp_path / f"a-provisional-{place}.jsonl.gz"
        path.write_text(f"{seen.spec.seed}")
        found = campaign._findings[seen.finding.signature]
        campaign._replace_trace(found, SavedTrace(path, created=True))
    campaign._rename()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a-o-k-f.1-2-1.jsonl.gz": "1",
        "a-o-k-f.1-2-2.jsonl.gz": "2",
        "b-o-k-f.3-1.jsonl.gz": "0",
    }
    assert [f.trace.name for f in campaign._sorted()] == [
        "a-o-k-f.1-2-1.jsonl.gz",
        "a-o-k-f.1-2-2.jsonl.gz",
        "b-o-k-f.3-1.jsonl.gz",
    ]


def test_more_scenarios_than_runs_is_no_error():
    campaign = Campaign(plan("abc", runs=1), known=())
    assert campaign._next_job()[0] == 0
    assert campaign._next_job() is None


def test_canary_is_judged_by_its_race_alone():
    assert judge_canary(result(stopped=True, executions=28)) == Canary(found=True, executions=28)
    missed = judge_canary(result(executions=2000))
    assert not missed.found
    assert "THE CANARY WAS MISSED" in missed.complaint()
    assert "2000 executions" in missed.complaint()


def test_canary_job_stops_at_its_race():
    job = canary_job()
    assert job.stop_at == ("locks", "foreign-unlock")
    assert not job.subject.kernel.ksm_notifier_first


def code(**changes):
    report = {
        "fault": None,
        "unsaved": None,
        "canary": Canary(found=True, executions=1),
        "stopped": "runs",
        "verdict": "clean",
        "failing": lambda **_: [],
        "shortfall": lambda: None,
    }
    return exit_codes.of_campaign(SimpleNamespace(**(report | changes)), fail_on="new")


def test_exit_code_of_a_campaign_is_that_of_its_worst_news():
    some = {"failing": lambda **_: ["one"], "verdict": "finding"}
    missed = Canary(found=False, executions=2000)
    assert code() == 0
    assert code(**some) == 1
    assert code(**some, stopped="interrupted") == 130
    assert code(**some, canary=missed) == 4
    assert code(**some, fault="x", stopped="fault") == 4
    assert code(canary=missed) == 4
    assert code(**some, unsaved="disk full", stopped="fault") == 2
    assert code(verdict="undecided") == 4
    assert code(verdict="undecided", shortfall=lambda: "nothing", stopped="time") == 2
    assert code(verdict="undecided", canary=None, stopped="interrupted") == 130
    assert exit_codes.worst([0, 2, 3]) == 3
    assert exit_codes.worst([0, 4, 2]) == 4
    assert exit_codes.worst([]) == 0


def test_progress_is_one_line():
    line = progress_text(
        Progress(
            executions=50,
            total=100,
            points=1_000_000,
            findings=2,
            new=1,
            seconds=2.0,
            seconds_left=125.0,
        )
    )
    assert line == (
        "50 of 100 executions  25/s  500.0k points/s  2 distinct findings (1 new)  2 min 05 s left"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (812, "812"), (12_345, "12.3k"), (4.1e6, "4.1M"), (2e9, "2.0G")]
)
def test_numbers_are_short(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1.2 s"), (61, "1 min 01 s"), (8_000, "2 h 13 min")]
)
def test_times_have_units(seconds, text):
    assert duration(seconds) == text
