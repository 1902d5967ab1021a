# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio run --interleave``: the examples of the manual, what is reported, bad files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import ksmtrio
from ksmtrio.cli.main import cli

EXAMPLES = Path(ksmtrio.__file__).parent / "manual" / "interleavings"
RACES = [
    ("race_a.txt", "offline_vs_ksmd", "offline_locks_out_ksm"),
    ("race_e.txt", "move_pages_vs_merge", "recheck_ksm_under_page_lock"),
]
races = pytest.mark.parametrize(("file", "scenario", "switch"), RACES)


@pytest.fixture(autouse=True)
def _in_a_fresh_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(scenario, *arguments):
    return CliRunner().invoke(cli, ["run", scenario, *arguments])


@races
def test_example_of_the_manual_shows_its_race_where_the_switch_is_off(file, scenario, switch):
    result = run(scenario, "--without", switch, "--interleave", str(EXAMPLES / file), "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert file.removesuffix(".txt") in report["marks"]
    assert report["strategy"] == "interleave"
    assert report["interleaving"]["done"] == report["interleaving"]["lines"]
    assert report["interleaving"]["divergence"] is None
    assert CliRunner().invoke(cli, ["replay", report["findings"][0]["trace"]]).exit_code == 0


@races
def test_example_leaves_its_lines_where_the_switch_is_on(file, scenario, switch):
    result = run(scenario, "--interleave", str(EXAMPLES / file))
    assert result.exit_code == 0
    assert "followed 2 of " in result.stdout


def test_report_of_a_divergence_is_what_the_manual_shows():
    result = run("offline_vs_ksmd", "--interleave", str(EXAMPLES / "race_a.txt"))
    manual = (EXAMPLES.parent / "interleavings.md").read_text(encoding="utf-8")
    lines = result.stdout.replace(f"{EXAMPLES}/", "").splitlines()
    shown = [lines[0], *lines[3:8]]
    assert "\n".join(shown) in manual


def test_example_of_the_manual_is_the_file():
    def bare(text):
        lines = (line.partition(" #")[0].split() for line in text.splitlines())
        return [line for line in lines if line and line[0] != "#"]

    manual = (EXAMPLES.parent / "interleavings.md").read_text(encoding="utf-8")
    written = (EXAMPLES / "race_a.txt").read_text(encoding="utf-8")
    assert bare(written) == bare(manual.split("```")[1])


def test_recorded_log_names_the_interleaving():
    Path("i.txt").write_text("ksmd: ..\n", encoding="utf-8")
    assert run("first_race", "--interleave", "i.txt", "--record", "t.jsonl").exit_code == 0
    header = json.loads(Path("t.jsonl").read_text(encoding="utf-8").partition("\n")[0])
    assert header["strategy"]["name"] == "interleave"
    assert CliRunner().invoke(cli, ["replay", "t.jsonl"]).exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ksmd: ..\nksmd - 4\n", "i.txt:2: 'ksmd - 4' is no line of an interleaving"),
        (b"driver: ..\n", "i.txt:1: unknown actor 'driver'; there are: ksmd, hotplug"),
        (b"ksmd: get_ksm_page.99\n", "i.txt:1: unknown label 'get_ksm_page.99'"),
        (b"\xff\xfe", "i.txt: is no text in UTF-8"),
        (b"#" * (1 << 21), "i.txt: larger than"),
        (None, "i.txt: cannot be read: No such file"),
    ],
)
def test_bad_file_is_one_line_and_exit_code_2(content, message):
    if content is not None:
        Path("i.txt").write_bytes(content)
    result = run("first_race", "--interleave", "i.txt")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", [("--strategy", "pct"), ("--depth", "3")])
def test_interleaving_and_a_strategy_exclude_each_other(option):
    Path("i.txt").write_text("ksmd: ..\n", encoding="utf-8")
    result = run("first_race", "--interleave", "i.txt", *option)
    assert result.exit_code == 2
    assert "leave out --strategy and --depth" in result.stderr
