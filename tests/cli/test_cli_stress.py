# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio stress``: worker processes, findings, budgets, the canary, interruption."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest
import trio
from click.testing import CliRunner

from ksmtrio.campaign import canary, findings
from ksmtrio.campaign.known import KnownIssue
from ksmtrio.campaign.stress import Campaign, StressPlan
from ksmtrio.cli.main import cli
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.subject import KernelSubject

BROKEN = ("--without", "ksm_notifier_first")


@pytest.fixture(autouse=True)
def _in_a_fresh_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def stress(*arguments):
    return CliRunner().invoke(cli, ["stress", *arguments])


def report(*arguments):
    result = stress(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def plan(**changes):
    wanted = {
        "scenarios": (load_scenario("first_race"),),
        "kernel": build_kernel(without=["ksm_notifier_first"]),
        "runs": 40,
        "canary": False,
        "traces": Path("traces"),
    }
    wanted |= changes
    subjects = tuple(KernelSubject(s, wanted["kernel"]) for s in wanted.pop("scenarios"))
    return StressPlan(subjects=subjects, **wanted)


def campaign(known=(), **changes):
    async def main():
        return await Campaign(plan(**changes), known=known).run()

    return trio.run(main)


def test_clean_campaign_states_its_evidence():
    code, found = report("first_race", "--runs", "30", "--jobs", "2")
    assert code == 0
    assert list(found)[:9] == [
        "verdict",
        "stopped",
        "executions",
        "points",
        "seconds",
        "executions_per_s",
        "points_per_s",
        "findings",
        "evidence",
    ]
    assert (found["verdict"], found["stopped"], found["executions"]) == ("clean", "runs", 30)
    evidence = found["evidence"]
    assert evidence["canary"]["found"]
    assert evidence["failure_probability_bound_95"] == pytest.approx(0.095, rel=0.01)
    assert 0 < evidence["distinct_schedules"] <= 30
    assert "first_race" in evidence["marks"]


def test_behaviours_are_part_of_the_evidence_whatever_the_workers():
    several, alone = (
        report("first_race", "--seeds", "5:165", "--jobs", jobs)[1]["evidence"]["behaviours"]
        for jobs in ("2", "1")
    )
    assert several == alone
    assert several["one_in"] == 8
    assert several["looked_at"] == pytest.approx(20, abs=1)
    assert 1 < several["distinct"] == sum(several["new_per_slice"])
    assert several["unseen_mass"] == several["seen_once"] / several["looked_at"]
    assert several["unseen_mass"] < several["unseen_mass_bound_95"] <= 1
    result = CliRunner().invoke(cli, ["stress", "first_race", "--runs", "160", "--jobs", "1"])
    assert "executions looked at, one in 8" in result.stdout
    assert "the next execution behaves as none before with p = " in result.stdout
    assert "new behaviours over time: |@" in result.stdout


def test_each_distinct_finding_comes_with_a_trace_that_replays():
    code, found = report("first_race", *BROKEN, "--seeds", "0:40", "--jobs", "2")
    assert (code, found["verdict"], found["executions"]) == (1, "finding", 40)
    signatures = [row["signature"] for row in found["findings"]]
    assert len(signatures) == len(set(signatures)) > 0
    for row in found["findings"]:
        assert row["command"] == f"ksmtrio replay {row['trace']}"
        result = CliRunner().invoke(cli, ["replay", row["trace"], "--json"])
        assert result.exit_code == 0
        assert row["signature"] in json.loads(result.stdout)["traces"][0]["findings"]


def test_report_ends_with_a_command():
    result = stress("first_race", *BROKEN, "--runs", "40", "--jobs", "1")
    assert result.exit_code == 1
    assert result.stdout.startswith("finding: 40 executions in ")
    assert result.stdout.splitlines()[-1].strip().startswith("ksmtrio replay .ksmtrio/first_race-")


@pytest.mark.parametrize("strategy", [None, "reads-from", "portfolio"])
def test_findings_do_not_depend_on_the_number_of_workers(strategy):
    def told(jobs):
        found = campaign(jobs=jobs, runs=140, traces=Path(f"traces{jobs}"), strategy=strategy)
        return [
            (f.sighting.finding, f.sighting.spec, f.first_execution, f.count, f.trace.name)
            for f in found.findings
        ], {f.trace.name: f.trace.read_bytes() for f in found.findings}

    assert told(1) == told(2)


def test_findings_do_not_depend_on_the_host():
    given = ("first_race", *BROKEN, "--runs", "60", "--jobs", "1")
    reports = [report(*given, "--host", host)[1] for host in ("trio", "bare")]
    for found in reports:
        for timing in ("seconds", "executions_per_s", "points_per_s"):
            del found[timing]
    assert reports[0] == reports[1]


def test_seed_of_a_strategy_that_learns_shows_the_same_when_it_is_run_alone():
    _, found = report(
        *("first_race", *BROKEN, "--strategy", "portfolio", "--seeds", "66:110", "--jobs", "1")
    )
    first = found["findings"][0]
    assert first["seed"] >= 66
    wanted = ["run", "first_race", *BROKEN, "--strategy", "portfolio", "--json"]
    again = CliRunner().invoke(cli, [*wanted, "--seed", str(first["seed"])])
    assert again.exit_code == 1
    shown = json.loads(again.stdout)
    assert shown["strategy"] == first["strategy"]
    assert shown["findings"][0]["signature"] == first["signature"]
    assert Path(shown["trace"]).read_bytes() == Path(first["trace"]).read_bytes()


def test_decisions_of_the_portfolio_are_written_and_counted():
    _, found = report("first_race", "--strategy", "portfolio", "--runs", "100", "--jobs", "2")
    lines = [json.loads(line) for line in Path(found["decisions"]).read_text().splitlines()]
    assert sorted(line["seed"] for line in lines) == list(range(100))
    counted = Counter(line["member"] for line in lines)
    shares = Counter()
    for name, count in found["strategies"].items():
        shares[name.split("/")[1]] += count
    assert shares == counted
    assert shares["random"] >= 13


def test_default_draws_a_strategy_for_each_seed():
    _, found = report("first_race", "--runs", "60", "--jobs", "1")
    assert len(found["strategies"]) > 3
    assert all(name.startswith("swarm/") for name in found["strategies"])
    assert found["decisions"] is None


def test_traces_do_not_depend_on_the_number_of_workers():
    """Several scenarios show the same findings; which one does first depends on the workers."""

    def files(jobs):
        traces = Path(f"traces{jobs}")
        code, _ = report(
            *("everything", "offline_vs_ksmd", "move_pages_vs_merge", "--seeds", "7:37"),
            *("--without", "offline_locks_out_ksm", "--without", "recheck_ksm_under_page_lock"),
            *("--jobs", str(jobs), "--traces", str(traces)),
        )
        assert code == 1
        return {path.name: path.read_bytes() for path in traces.iterdir()}

    assert files(1) == files(2) == files(3)


def test_scenarios_take_turns():
    found = campaign(scenarios=(load_scenario("first_race"), load_scenario("offline_veto")), runs=9)
    assert found.executions == 9
    assert found.scenarios == ("first_race", "offline_veto")


def test_time_budget_ends_a_campaign():
    code, found = report("first_race", "--time", "0.5", "--jobs", "1")
    assert (code, found["stopped"], found["verdict"]) == (0, "time", "clean")
    assert found["executions"] > 0


def test_known_findings_do_not_fail_a_campaign():
    known = (KnownIssue("*", "as it was"),)
    scenarios = (load_scenario("move_pages_vs_merge"),)
    found = campaign(known, scenarios=scenarios, kernel=build_kernel("pre-8"), runs=200)
    assert found.findings
    assert found.failing(fail_on="new") == []
    assert len(found.failing(fail_on="any")) == len(found.findings)


def test_nothing_is_known_on_a_kernel_with_a_switch_turned():
    found = campaign(known=(KnownIssue("*", "as it was"),))
    assert found.findings
    assert found.failing(fail_on="new") == list(found.findings)
    assert not any(row["known"] for row in found.to_json()["findings"])


def test_budget_too_small_for_any_execution_is_bad_input():
    result = stress("first_race", "--time", "0.000001", "--json")
    assert result.exit_code == 2
    assert result.stderr.startswith("ksmtrio: error: nothing was executed within the budget")
    assert result.stderr.count("\n") == 1
    assert json.loads(result.stdout)["verdict"] == "undecided"


def test_same_finding_of_a_later_campaign_uses_the_same_file():
    first, second = campaign(), campaign()
    assert [f.trace for f in first.findings] == [f.trace for f in second.findings]
    assert len(list(Path("traces").iterdir())) == len(first.findings)


def test_missed_canary_is_loud_and_code_4(monkeypatch):
    monkeypatch.setattr(canary, "FINDING", ("locks", "no-such-kind"))
    monkeypatch.setattr(canary, "SEEDS_MAX", 3)
    result = stress("first_race", "--runs", "3", "--jobs", "1")
    assert result.exit_code == 4
    assert "THE CANARY WAS MISSED" in result.stderr
    assert not result.stdout.startswith("clean")


def test_finding_that_does_not_come_back_is_a_fault(monkeypatch):
    real = findings.record_subject

    async def other_kernel(subject, plan_, path, **options):
        return await real(attrs.evolve(subject, kernel=build_kernel()), plan_, path, **options)

    monkeypatch.setattr(findings, "record_subject", other_kernel)
    found = campaign()
    assert "did not come back" in found.fault
    assert found.stopped == "fault"


def test_traces_that_cannot_be_written_are_bad_input():
    Path("file").write_text("")
    result = stress("first_race", *BROKEN, "--runs", "40", "--traces", "file/sub")
    assert result.exit_code == 2
    assert result.stderr.startswith("ksmtrio: error: file/sub: cannot be written")
    assert result.stdout.startswith("finding: ")


INTERRUPTING = """
import os, signal, sys
from ksmtrio.campaign import stress
from ksmtrio.cli.main import main
from ksmtrio.cli.output import Output
from ksmtrio.cli.progress import ProgressLine

def before(function, always):
    def wrapped(self, *args):
        if always or args[0].findings:
            os.kill(os.getpid(), signal.SIGINT)
        return function(self, *args)
    return wrapped

ProgressLine.__call__ = before(ProgressLine.__call__, False)
if "everywhere" in sys.argv[1]:
    stress.Campaign._rename = before(stress.Campaign._rename, True)
    stress.Campaign._report = before(stress.Campaign._report, True)
    ProgressLine.__exit__ = before(ProgressLine.__exit__, True)
    Output.json = before(Output.json, True)
if __name__ == "__main__":
    main(sys.argv[2:])
"""


@pytest.mark.parametrize("where", ["at a finding", "everywhere"])
def test_interruption_keeps_what_was_found(where):
    Path("interrupting.py").write_text(INTERRUPTING)
    command = ["stress", "first_race", *BROKEN, "--time", "60", "--json"]
    done = subprocess.run(
        [sys.executable, "interrupting.py", where, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["stopped"] == "interrupted"
    assert found["findings"]
    for row in found["findings"]:
        assert Path(row["trace"]).exists()


def test_progress_is_on_stderr_alone():
    done = subprocess.run(
        [sys.executable, "-m", "ksmtrio", "stress", "first_race", "--runs", "20", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executions"] == 20
