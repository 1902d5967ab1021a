# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio run``: one execution, its report and its trace."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ksmtrio.cli.main import cli

BROKEN = ("--without", "ksm_notifier_first")


@pytest.fixture(autouse=True)
def _in_a_fresh_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(cli, ["run", "first_race", *arguments])


def report(*arguments):
    result = run(*arguments, "--json")
    assert result.stderr == ""
    return result.exit_code, json.loads(result.stdout)


def test_clean_execution_says_so_and_writes_nothing(tmp_path):
    result = run()
    assert result.exit_code == 0
    assert result.stdout.startswith("clean: first_race, kernel v2.6.33\n")
    assert list(tmp_path.iterdir()) == []


def test_one_execution_states_how_little_it_proves():
    code, found = report()
    assert code == 0
    assert found["evidence"]["executions"] == 1
    assert found["evidence"]["failure_probability_bound_95"] == pytest.approx(0.95)
    assert found["evidence"]["behaviours"]["unseen_mass"] == 1.0
    assert found["behaviour"] == report()[1]["behaviour"]
    assert found["behaviour"] == report("--host", "bare")[1]["behaviour"]
    assert "an execution shows something with p < 0.95" in run().stdout


def test_promised_keys_are_there():
    code, found = report(*BROKEN, "--seed", "3")
    assert code == 1
    assert list(found)[:8] == [
        "verdict",
        "points",
        "seed",
        "strategy",
        "kernel",
        "scenario",
        "digest",
        "findings",
    ]
    assert found["kernel"] == "v2.6.33 --without ksm_notifier_first"
    assert (found["verdict"], found["seed"], found["strategy"]) == ("finding", 3, "swarm/pct")


def test_hosts_report_the_same():
    on_trio = report(*BROKEN, "--seed", "3", "--host", "trio")
    on_bare = report(*BROKEN, "--seed", "3", "--host", "bare")
    assert on_bare == on_trio
    trace = on_bare[1]["trace"]
    assert CliRunner().invoke(cli, ["replay", "--host", "bare", trace]).exit_code == 0


def test_finding_comes_with_a_trace_and_the_command_for_it():
    _, found = report(*BROKEN, "--seed", "3")
    for row in found["findings"]:
        verb, *arguments = row["command"].split()[1:]
        assert verb == "replay"
        assert CliRunner().invoke(cli, ["replay", *arguments]).exit_code == 0
    text = run(*BROKEN, "--seed", "3")
    assert text.exit_code == 1
    assert text.stdout.rstrip().splitlines()[-1].strip() == found["findings"][-1]["command"]


def test_same_seed_is_the_same_execution():
    assert report("--seed", "5") == report("--seed", "5")
    assert report("--seed", "5")[1]["digest"] != report("--seed", "6")[1]["digest"]


def test_recorded_trace_replays(tmp_path):
    code, found = report("--record", "sub/t.jsonl.gz", "--strategy", "pct", "--depth", "2")
    assert (code, found["trace"], found["depth"]) == (0, "sub/t.jsonl.gz", 2)
    assert CliRunner().invoke(cli, ["replay", "sub/t.jsonl.gz"]).exit_code == 0
    assert not (tmp_path / ".ksmtrio").exists()


def test_recorded_trace_is_the_one_that_a_finding_names():
    _, found = report(*BROKEN, "--seed", "3", "--record", "t.jsonl")
    assert {row["trace"] for row in found["findings"]} == {"t.jsonl"}


def test_quiet_output_keeps_verdict_and_command():
    text = run(*BROKEN, "--seed", "3", "-q", "--no-color").stdout
    assert text.startswith("finding: first_race")
    assert "digest" not in text
    assert "ksmtrio replay " in text


def test_scenario_may_be_a_file(tmp_path):
    from ksmtrio.scenario import load_scenario

    file = tmp_path / "mine.toml"
    file.write_text(load_scenario("first_race").text)
    assert CliRunner().invoke(cli, ["run", str(file)]).exit_code == 0
