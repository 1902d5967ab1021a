# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of latent defects share: the claim that they make, and small scenarios."""

from __future__ import annotations

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.execution import Outcome
from ksmtrio.scenario import parse_scenario
from ksmtrio.scenario.schema import Scenario
from tests.campaigns import follow


def assert_defect(
    scenario: str | Scenario, *turns: str, signature: str, fix: str, after_it: str = ""
) -> Outcome:
    """Assert that v2.6.33 shows a listed defect on these turns, and that its fix cures it.

    With that fix alone another defect may show in its place; `latest-fixes` must be clean.

    Args:
        signature: of the one finding.
        fix: the switch that its entry in `known_issues.toml` names.
        after_it: signature of what follows from it, if that is a listed finding of its own.

    Returns:
        What v2.6.33 did.
    """
    shown = follow(scenario, *turns)
    assert shown.signatures() == tuple(filter(None, (signature, after_it)))
    if after_it:
        assert match_known(after_it, load_known_issues()) is not None
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix
    assert signature not in follow(scenario, *turns, with_=[fix]).signatures()
    assert follow(scenario, *turns, kernel_name="latest-fixes").signatures() == ()
    return shown


def small(processes: str, actors: str, *, ksm: str = "batches = 1", machine: str = "") -> Scenario:
    """Return a scenario of a few lines: ksmd and the given processes and actors."""
    head = f"""
format = 1
name = "small"
description = "made for one defect"
[machine]
pages_per_block = 4
{machine}
[ksm]
{ksm}
[[actor]]
name = "ksmd"
kind = "ksmd"
"""
    return parse_scenario(head + processes + actors, "small")


def process(name: str, contents: str, more: str = "") -> str:
    """Return the TOML of a process with one mergeable area in block 1."""
    return (
        f'[[process]]\nname = "{name}"\n[[process.vma]]\npages = 1\ncontents = {contents}\n'
        f"mergeable = true\nblock = 1\n{more}\n"
    )


def fork(name: str, of: str) -> str:
    """Return the TOML of a process that was forked from another."""
    return f'[[process]]\nname = "{name}"\nforked_from = "{of}"\n'


def task(name: str, of: str, *ops: str) -> str:
    """Return the TOML of a task with a few operations."""
    where = f'process = "{of}"\n' if of else ""
    program = ", ".join(ops)
    return f'[[actor]]\nname = "{name}"\nkind = "user_task"\n{where}program = [{program}]\n'


def area(name: str, contents: str) -> str:
    """Return the TOML of a process with one area in block 1 that is not mergeable."""
    return process(name, contents).replace("mergeable = true", "mergeable = false")


_OFFLINE = task("hotplug", "", '{ op = "offline", block = 1 }')
_LEAVER = task("leaver", "A", '{ op = "exit" }')
_UNMAPPER = task("unmapper", "A", '{ op = "munmap", page = 0 }')
_STORE = '{{ op = "store", page = 0, value = {} }}'
_SEEN = "checksum = true"

ONLY_SLOT = small(process("A", "7"), _LEAVER)
"""One registered address space, which exits while ksmd scans."""

LEFT_MM = small(process("A", '"-"'), _LEAVER)
"""The same with nothing mapped, so that its slot is easily freed."""

_RUN = '{{ op = "sysfs_write", path = "/sys/kernel/mm/ksm/run", text = "{}" }}'

UNMERGED_MM = small(process("A", '"-"'), _LEAVER + task("writer", "", _RUN.format(2)))
"""The same while everything is taken apart."""

INTERRUPTED = small(
    process("A", "7", _SEEN) + process("B", "8", _SEEN) + process("C", "9", _SEEN),
    task("writer", "", _RUN.format(2))
    + task("killer", "", '{ op = "kill", actor = "writer" }', _RUN.format(1)),
    ksm="batches = 3\npages_to_scan = 2",
)
"""Who takes everything apart is killed while ksmd is in the middle of a full scan."""

LAST_SLOT = small(
    process("A", "7", _SEEN) + area("B", "8"),
    _LEAVER + task("newcomer", "B", '{ op = "madvise", page = 0, advice = "MERGEABLE" }'),
    ksm="batches = 3",
)
"""One address space is registered while the only other one goes."""

FORKED = small(
    process("B", "7", _SEEN) + process("A", "7", _SEEN) + fork("fork", "A"),
    task("writer", "B", _STORE.format(8)),
    ksm="batches = 1\npages_to_scan = 2",
)
"""Two candidates, one of them shared with a fork, the other written to."""

ORPHANED = small(
    process("A", "7") + process("B", "7") + fork("fork", "A"),
    _LEAVER,
    ksm='batches = 1\npages_to_scan = 1\ncursor = "A:0"\n[[ksm.merged]]\npages = ["A:0", "B:0"]',
)
"""A process that shares a KSM page with its fork exits."""

UNMAPPED = small(process("A", "7"), _UNMAPPER + _OFFLINE)
"""A page is unmapped while its block goes offline."""

VETOED = small(
    process("A", "7"),
    '[[notifier]]\nname = "balloon"\npriority = 1\nveto = true\n' + _UNMAPPER + _OFFLINE,
)
"""A page is unmapped while its block fails to go offline."""

REFILLED = small(
    area("A", "7") + area("B", '"-"'),
    _UNMAPPER + task("toucher", "B", _STORE.format(5)) + _OFFLINE,
    machine="nodes = 1\nblocks_per_node = 2",
)
"""A frame is freed and another allocated while a block of the only node goes offline."""
