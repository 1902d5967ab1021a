# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio doctor``: fresh processes, other hash seeds, and what is shown when they disagree."""

from __future__ import annotations

import json
import sys

import attrs
import trio
from click.testing import CliRunner

from ksmtrio.campaign import doctor as doctor_module
from ksmtrio.campaign.sample import SampleDigest, digests_of
from ksmtrio.cli.main import cli
from ksmtrio.sched.strategies import LEARNING, STRATEGIES


def doctor(*arguments):
    return CliRunner().invoke(cli, ["doctor", *arguments])


def test_executions_are_the_same_in_fresh_processes():
    result = doctor("first_race", "--seeds", "1", "--python", sys.executable, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["same"]
    assert report["samples"] == len(STRATEGIES) - 1 + len(LEARNING)  # all but replay
    assert [p["hash_seed"] for p in report["processes"]] == ["1", "4242", "1", "4242"]


def test_executions_are_the_same_on_another_host():
    result = doctor("first_race", "--seeds", "1", "--host", "bare", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["same"]


def test_disagreement_is_a_fault_and_shows_the_first_differing_record(monkeypatch):
    real = doctor_module._in_fresh_process

    def other(python, hash_seed, request):
        """Execute other seeds than asked for: what a hidden source of chance would do."""
        samples = [
            type(s)(s.scenario, attrs.evolve(s.spec, seed=s.spec.seed + 14))
            for s in request.samples
        ]
        return real(python, hash_seed, type(request)(samples, request.record))

    monkeypatch.setattr(doctor_module, "_in_fresh_process", other)
    monkeypatch.setattr(doctor_module, "HASH_SEEDS", ("1",))
    result = doctor("first_race", "--seeds", "1")
    assert result.exit_code == 4
    assert "differs: first_race, strategy random, seed 0" in result.stdout
    assert "  - " in result.stdout
    assert "  + " in result.stdout
    assert "not deterministic" in result.stderr


def test_strategies_that_learn_are_compared_after_they_have_learned(monkeypatch):
    def forgetful(_python, _hash_seed, request):
        samples = [
            type(s)(s.scenario, attrs.evolve(s.spec, seed=0)) if s.spec.name in LEARNING else s
            for s in request.samples
        ]
        return trio.run(digests_of, samples)

    monkeypatch.setattr(doctor_module, "_in_fresh_process", forgetful)
    monkeypatch.setattr(doctor_module, "_first_difference", lambda *_: None)
    monkeypatch.setattr(doctor_module, "HASH_SEEDS", ("1",))
    result = doctor("first_race", "--seeds", "1", "--json")
    assert result.exit_code == 4
    rows = json.loads(result.stdout)["disagreements"]
    assert [row["strategy"] for row in rows] == list(LEARNING)


def test_final_machine_alone_may_differ(monkeypatch):
    def other(_python, _hash_seed, request):
        return [SampleDigest("0" * 32, "0" * 32, 0) for _ in request.samples]

    monkeypatch.setattr(doctor_module, "_in_fresh_process", other)
    monkeypatch.setattr(doctor_module, "_first_difference", lambda *_: None)
    result = doctor("first_race", "--seeds", "1", "--json")
    assert result.exit_code == 4
    rows = json.loads(result.stdout)["disagreements"]
    assert {row["first_difference"] for row in rows} == {None}


def test_python_that_cannot_run_ksmtrio_is_bad_input(tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    fake.chmod(0o755)
    result = doctor("first_race", "--seeds", "1", "--python", str(fake))
    assert result.exit_code == 2
    assert "no such module" in result.stderr
