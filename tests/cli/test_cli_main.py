# SPDX-License-Identifier: GPL-2.0-or-later
"""The command as such: help, usage errors, faults, interruption, a reader that goes away."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import ksmtrio
from ksmtrio.cli import run as run_module
from ksmtrio.cli.main import VERBS, cli
from ksmtrio.errors import EmulatorError, ReplayDiverged


def invoke(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_help_names_every_verb():
    result = invoke("--help")
    assert result.exit_code == 0
    for verb in VERBS:
        assert f"  {verb}" in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    result = invoke(verb, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: cli {verb}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("run",),
        ("run", "first_race", "--nosuch"),
        ("run", "first_race", "--seed", "-1"),
        ("run", "first_race", "--seed", "x"),
        ("run", "first_race", "--strategy", "nosuch"),
        ("run", "first_race", "--strategy", "replay"),
        ("run", "first_race", "--kernel", "v9"),
        ("run", "first_race", "--without", "nosuch"),
        ("run", "first_race", "--with", "nosuch"),
        ("run", "first_race", "--record", "x.txt"),
        ("run", "nosuch"),
        ("run", "/"),
        ("stress", "nosuch"),
        ("stress", "--seeds", "5:5"),
        ("stress", "--seeds", "9:1"),
        ("stress", "--seeds", "5"),
        ("stress", "--time", "0"),
        ("stress", "--time", "soon"),
        ("stress", "--runs", "0"),
        ("stress", "--jobs", "0"),
        ("stress", "first_race", "--strategy", "nosuch", "--runs", "1"),
        ("replay",),
        ("replay", "nosuch.jsonl"),
        ("list",),
        ("list", "nosuch"),
        ("doctor", "nosuch"),
        ("doctor", "--python", "/nosuch", "first_race"),
    ],
    ids=" ".join,
)
def test_bad_usage_and_bad_input_end_in_one_line(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("ksmtrio: error: ")


def failing_with(monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(run_module, "run_once", fail)
    return invoke("run", "first_race")


@pytest.mark.parametrize("error", [EmulatorError("boom"), RuntimeError("boom"), OSError("boom")])
def test_fault_of_ours_is_code_4_and_one_line(monkeypatch, error):
    result = failing_with(monkeypatch, error)
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
    assert "fault in ksmtrio itself" in result.stderr
    assert "boom" in result.stderr
    assert "KSMTRIO_DEBUG=1" in result.stderr


def test_fault_shows_where_it_arose_when_asked(monkeypatch):
    monkeypatch.setenv("KSMTRIO_DEBUG", "1")
    assert isinstance(failing_with(monkeypatch, RuntimeError("boom")).exception, RuntimeError)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("nursery", [KeyboardInterrupt()])]
)
def test_interruption_is_code_130(monkeypatch, error):
    result = failing_with(monkeypatch, error)
    assert result.exit_code == 130
    assert result.stderr == "ksmtrio: error: interrupted\n"


def test_divergence_outside_replay_is_code_3(monkeypatch):
    assert failing_with(monkeypatch, ReplayDiverged("x")).exit_code == 3


def test_reader_that_goes_away_is_no_finding():
    with subprocess.Popen(
        [sys.executable, "-m", "ksmtrio", "list", "points"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_module_and_command_are_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "ksmtrio", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"ksmtrio, version {invoke('--version').stdout.split()[-1]}\n"


def test_import_of_the_package_is_cheap_and_names_are_public():
    code = "import sys, ksmtrio; print([m for m in ('trio', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    for name in ksmtrio.__all__:
        assert getattr(ksmtrio, name) is not None
    assert set(ksmtrio.__all__) <= set(dir(ksmtrio))
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = ksmtrio.nosuch
