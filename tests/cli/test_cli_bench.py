# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio bench``: every host and strategy is measured; the figures themselves are no test."""

from __future__ import annotations

import json
import signal

from click.testing import CliRunner

from ksmtrio.campaign import bench as bench_module
from ksmtrio.cli.main import cli
from ksmtrio.sched.hosts import HOSTS
from ksmtrio.sched.strategies import STRATEGIES


def bench(*arguments):
    result = CliRunner().invoke(cli, ["bench", "--time", "0.1", *arguments])
    assert result.exit_code == 0
    return result


def test_each_host_and_strategy_has_a_row():
    result = bench("--json")
    report = json.loads(result.stdout)
    assert report["yardstick"]["per_s"] > 0
    rows = {row["name"]: row for row in report["rows"]}
    for host in HOSTS:
        assert rows[f"two empty tasks, at random, host {host}"]["executions_per_s"] is None
        for strategy in STRATEGIES:
            if strategy != "replay":
                assert rows[f"offline_vs_ksmd, {strategy}, host {host}"]["executions_per_s"] > 0
    for row in rows.values():
        assert list(row) == ["name", "points_per_s", "executions_per_s", "ratio"]
        assert row["points_per_s"] > 0
        assert row["ratio"] > 0


def test_it_is_a_table_with_progress_on_stderr(monkeypatch):
    report = bench_module.BenchReport(2e6, (bench_module.Row("a load", 1e6, None, 0.5),))

    def measured(clock, *, seconds, on_progress):
        assert seconds == 0.1
        assert clock() <= clock()
        on_progress("slice 1")
        return report

    monkeypatch.setattr("ksmtrio.cli.bench.bench", measured)
    result = bench()
    assert "4 tasks: 2.0M/s" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["a", "load", "1.0M", "0.50"]
    assert result.stderr == "slice 1\n"
    assert bench("-q").stderr == ""


def test_strategies_are_measured_on_a_known_race(tmp_path):
    arguments = ["bench", "--strategies", "--only", "L6", "--strategy", "random", "--seeds", "2"]
    arguments += ["--jobs", "1", "--results", str(tmp_path / "results.jsonl")]
    plot = tmp_path / "plot.svg"
    table = tmp_path / "table.md"
    files = ["--plot", str(plot), "--table", str(table)]
    result = CliRunner().invoke(cli, [*arguments, *files, "-q"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].split()[:4] == ["L6", "1", "random", "*"]
    assert plot.read_text().startswith("<svg")
    assert "| L6 | 1 | **" in table.read_text()
    again = CliRunner().invoke(cli, [*arguments, "--json", "-q"])
    (target,) = json.loads(again.stdout)["targets"]
    assert target["depth"] == 1
    assert target["strategies"]["random"]["found"] == 2


def test_options_of_the_measurement_of_strategies_need_it():
    result = CliRunner().invoke(cli, ["bench", "--only", "L6"])
    assert result.exit_code == 2
    nowhere = ["bench", "--strategies", "--only", "L6", "--table", "no/such/folder.md"]
    assert CliRunner().invoke(cli, nowhere).exit_code == 2
    unknown = CliRunner().invoke(cli, ["bench", "--strategies", "--only", "L0"])
    assert unknown.exit_code == 2


def test_a_signal_ends_the_measurement_of_strategies_with_what_there_is(monkeypatch):
    def tell(_say):
        return lambda *_: signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("ksmtrio.cli.bench._telling", tell)
    arguments = ["--strategies", "--only", "L6", "--strategy", "random", "--jobs", "1", "--json"]
    result = CliRunner().invoke(cli, ["bench", *arguments])
    assert result.exit_code == 130
    (target,) = json.loads(result.stdout)["targets"]
    assert 0 < target["strategies"]["random"]["trials"] < 20
