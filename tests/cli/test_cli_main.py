# SPDX-License-Identifier: GPL-2.0-or-later
"""The command as such: help, usage errors, faults, interruption, a reader that goes away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ksmtrio
from ksmtrio.cli import run as run_module
from ksmtrio.cli.main import VERBS, cli
from ksmtrio.errors import EmulatorError, ReplayDiverged

ROOT = Path(__file__).parents[2]


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
        ("stress", "first_race", "first_race", "--runs", "1"),
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


@pytest.mark.parametrize("error", [EmulatorError("boom"), RuntimeError("boom")])
def test_fault_of_ours_is_code_4_and_one_line(monkeypatch, error):
    result = failing_with(monkeypatch, error)
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1
    assert "fault in ksmtrio itself" in result.stderr
    assert "boom" in result.stderr
    assert "KSMTRIO_DEBUG=1" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ExceptionGroup("nursery", [OSError(errno.ENOSPC, "No space left on device")]),
    ],
)
def test_what_the_system_refuses_is_code_2_and_one_line(monkeypatch, error):
    result = failing_with(monkeypatch, error)
    assert result.exit_code == 2
    assert result.stderr == "ksmtrio: error: the system refused: No space left on device\n"


def shell(command):
    return subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m ksmtrio {command}', sys.executable],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "command",
    ["list kernels >&-", "run first_race >/dev/full", "list kernels >/dev/full", "-h >/dev/full"],
)
def test_output_that_nobody_takes_is_code_2_and_one_line(command):
    done = shell(command)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("ksmtrio: error: ")
    assert done.stderr.count("\n") == 1


def test_closed_stderr_does_no_harm():
    done = shell("run first_race 2>&-")
    assert (done.returncode, done.stdout[:5]) == (0, "clean")


def test_fifo_is_no_scenario_and_no_trace(tmp_path):
    for name, verb in (("f.toml", "run"), ("f.jsonl", "replay")):
        os.mkfifo(tmp_path / name)
        result = invoke(verb, str(tmp_path / name))
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert "is no regular file" in result.stderr


def test_file_name_with_a_line_end_stays_in_one_line():
    result = invoke("replay", "a\nb.jsonl")
    assert result.exit_code == 2
    assert result.stderr.startswith("ksmtrio: error: a\\nb.jsonl: cannot be read")
    assert result.stderr.count("\n") == 1


def test_error_is_a_sentence_before_the_next():
    assert "A < B. Try: " in invoke("stress", "--seeds", "5").stderr


def test_interruption_of_the_start_is_code_130_and_one_line(tmp_path):
    """Interrupt the import of a module that everything needs."""
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ksmtrio", "list", "kernels"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )
    assert (done.returncode, done.stderr) == (130, "ksmtrio: error: interrupted\n")


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
