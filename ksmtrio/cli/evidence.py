# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints what a clean verdict rests on; several verbs share it. Tests: `tests/cli/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ksmtrio.campaign.behaviours import sparkline
from ksmtrio.cli.output import Output


def print_bound(output: Output, bound: float | None, assumes: str) -> None:
    """Print what the silence leaves open, and what that assumes."""
    if bound is not None:
        output.detail(f"  at 95 % confidence an execution shows something with p < {bound:.2g}")
        output.detail(f"  that assumes {assumes}")


def print_behaviours(output: Output, told: Mapping[str, Any]) -> None:
    """Print what is known of behaviours, from `campaign.behaviours.report` or `report_seen`."""
    if not told["looked_at"]:
        return
    about = "" if told["exact"] else "about "
    one_in = told.get("one_in", 1)
    sample = "" if one_in == 1 else f", one in {one_in}"
    output.detail(
        f"  {about}{told['distinct']} behaviours ({told['reads_from']} by reads-from, "
        f"{told['lock_order']} by lock order) in {told['looked_at']} executions looked at{sample}"
    )
    mass, bound = told.get("unseen_mass"), told.get("unseen_mass_bound_95")
    if mass is not None and bound is not None:
        output.detail(
            f"  the next execution behaves as none before with p = {mass:.2g} (Good-Turing), "
            f"at 95 % confidence p < {bound:.2g}"
        )
    new = told["new_per_slice"]
    if len(new) > 1:
        output.detail(f"  new behaviours over time: |{sparkline(new)}| {', '.join(map(str, new))}")
