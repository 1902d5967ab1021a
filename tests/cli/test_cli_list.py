# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio list``: everything there is, as a table or as JSON."""

from __future__ import annotations

import json
from functools import cache

import pytest
from click.testing import CliRunner

from ksmtrio.campaign.listing import LISTS
from ksmtrio.cli.main import cli
from ksmtrio.scenario import builtin_names


@cache
def rows(what):
    result = CliRunner().invoke(cli, ["list", what, "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found
    return found


@pytest.mark.parametrize("what", [name for name in LISTS if name != "points"])
def test_each_thing_has_a_name_and_a_description(what):
    found = rows(what)
    names = [row["name"] for row in found]
    assert len(names) == len(set(names))
    for row in found:
        assert list(row)[:2] == ["name", "description"]
        assert row["description"].strip()


def test_each_point_says_where_it_is():
    found = rows("points")
    labels = [row["label"] for row in found]
    assert len(labels) == len(set(labels))
    for row in found:
        assert list(row) == ["label", "function", "tag", "step", "file"]
        assert row["label"].startswith(f"{row['function']}.")
        assert row["step"].startswith(row["tag"])
        assert row["file"].startswith("ksmtrio/")
    by_label = {row["label"]: row for row in found}
    assert by_label["get_ksm_page.4"]["step"] == "GK.4"


def test_each_scenario_shows_its_actors_and_points():
    found = rows("scenarios")
    assert [row["name"] for row in found] == builtin_names()
    first_race = next(row for row in found if row["name"] == "first_race")
    assert len(first_race["actors"]) == 2
    assert 0 < first_race["points"] < 50


@pytest.mark.parametrize("what", LISTS)
def test_table_has_a_line_for_each_row(what):
    result = CliRunner().invoke(cli, ["list", what])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 1 + len(rows(what))
    assert all(line == line.rstrip() for line in lines)
    assert result.stdout.isascii()
