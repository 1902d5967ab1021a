# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio list``: what there is. Tests: `tests/cli/test_cli_list.py`."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from ksmtrio.campaign.listing import LISTS
from ksmtrio.cli.exit_codes import NOTHING_FOUND
from ksmtrio.cli.options import output_options
from ksmtrio.cli.output import Output

_COLUMNS: Final = {
    "scenarios": ("name", "group", "points", "actors", "description"),
    "points": ("label", "step", "file"),
    "switches": ("name", "kind", "description"),
}
_COLUMNS_DEFAULT: Final = ("name", "description")
_NUMBERS: Final = frozenset({"points"})


@click.command("list")
@click.argument("what", type=click.Choice(list(LISTS)))
@output_options
def command(what: str, output: Output) -> None:
    """List kernels, switches, scenarios, strategies, oracles, schedule points or actor kinds.

    The points of a scenario are the median over 21 seeds, those of a pair from one.
    """
    rows = LISTS[what]()
    output.json(rows)
    columns = _COLUMNS.get(what, _COLUMNS_DEFAULT)
    output.table(
        [f"{column}#" if column in _NUMBERS else column for column in columns],
        [[_cell(row[column]) for column in columns] for row in rows],
    )
    sys.exit(NOTHING_FOUND)


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
