# SPDX-License-Identifier: GPL-2.0-or-later
"""Any list of choices is a valid, replayable execution; any small program of calls is served.

Hypothesis draws choices, and programs over two processes; what came out must replay exactly, and no
call may ever end in an error of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.execution import execute
from ksmtrio.kconfig import SWITCHES, build_kernel
from ksmtrio.scenario import load_scenario, parse_scenario, sample_names
from ksmtrio.scenario.schema import Scenario
from ksmtrio.sched.choices import Choices
from ksmtrio.sched.hosts import HOSTS
from ksmtrio.sched.strategies import resolve
from ksmtrio.trace.recorder import Recorder

on_each_host = pytest.mark.parametrize("host", HOSTS)
CHOICES = st.lists(st.integers(0, 7), max_size=400)


async def assert_replays(
    scenario: Scenario, without: Sequence[str], choices: Choices, host: str
) -> None:
    """Run loosely guided choices; then what was really chosen, exactly: equal to the bit."""
    kernel = build_kernel(without=without)

    first = await execute(scenario, kernel, choices, recorder=Recorder(), exact=False, host=host)
    second = await execute(scenario, kernel, first.choices, recorder=Recorder(), host=host)
    assert first.choices == second.choices
    assert first.event_digest == second.event_digest
    assert first.machine_digest == second.machine_digest
    assert first.signatures() == second.signatures()


@pytest.mark.trio
@on_each_host
@pytest.mark.parametrize("name", [n for n in sample_names() if n != "everything"])
@given(
    schedule=CHOICES, data=CHOICES, without=st.lists(st.sampled_from(list(SWITCHES)), unique=True)
)
@settings(max_examples=4)
async def test_any_choices_on_any_kernel_make_a_replayable_execution(
    name: str, schedule: list[int], data: list[int], without: list[str], host: str
) -> None:
    await assert_replays(load_scenario(name), without, Choices(schedule, data, []), host)


OPERATIONS = st.one_of(
    st.builds(
        "{{ op = 'load', page = {}, half = {} }}".format, st.integers(0, 2), st.integers(0, 1)
    ),
    st.builds(
        "{{ op = 'store', page = {}, value = {}, half = {} }}".format,
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(0, 1),
    ),
    st.builds(
        "{{ op = 'madvise', page = {}, advice = '{}' }}".format,
        st.integers(0, 2),
        st.sampled_from(["MERGEABLE", "UNMERGEABLE"]),
    ),
    st.builds("{{ op = 'munmap', page = {} }}".format, st.integers(0, 2)),
    st.builds(
        "{{ op = 'mbind', page = 0, pages = {}, nodes = [{}], flags = ['MOVE_ALL'] }}".format,
        st.integers(1, 3),
        st.integers(0, 1),
    ),
    st.builds(
        "{{ op = 'move_pages', pages = [0, 1, 2], node = {}, flags = ['MOVE_ALL'] }}".format,
        st.integers(0, 1),
    ),
    st.just("{ op = 'query_pages', pages = [2, 0], target = 'A' }"),
    st.builds(
        "{{ op = 'migrate_pages', old_nodes = [{}], new_nodes = [{}] }}".format,
        st.integers(0, 1),
        st.integers(0, 1),
    ),
    st.builds(
        "{{ op = '{}', page = {} }}".format,
        st.sampled_from(["mlock", "munlock", "mmap", "soft_offline", "pin", "unpin"]),
        st.integers(0, 4),
    ),
    st.builds(
        "{{ op = 'mremap', page = {}, pages = {}, to = {} }}".format,
        st.integers(0, 2),
        st.integers(1, 2),
        st.integers(0, 3),
    ),
    st.builds(
        "{{ op = 'sysfs_write', path = '/sys/kernel/mm/ksm/run', text = '{}' }}".format,
        st.integers(0, 2),
    ),
    st.sampled_from(
        [
            "{ op = 'fork' }",
            "{ op = 'swapoff' }",
            "{ op = 'reclaim' }",
            "{ op = 'numa_maps' }",
            "{ op = 'kill', actor = 'task0' }",
        ]
    ),
    st.builds(
        "{{ op = '{}', block = {} }}".format,
        st.sampled_from(["offline", "online", "remove_section"]),
        st.integers(1, 3),
    ),
    st.just("{ op = 'exit' }"),
)

TEMPLATE = """
format = 1
name = "drawn"
description = "a program that a property test drew"
faults = ["enomem", "signal", "early-expiry"]
[machine]
blocks_per_node = 2
pages_per_block = 4
swap_slots = 6
[ksm]
batches = 3
pages_to_scan = 8
[[ksm.merged]]
pages = ["A:0", "B:0"]
[[process]]
name = "A"
[[process.vma]]
pages = 3
contents = [1, 2, "-"]
mergeable = true
checksum = true
block = 2
[[process.vma]]
pages = 2
mapped = false
[[process]]
name = "B"
[[process.vma]]
pages = 3
contents = [1, 2, 3]
mergeable = true
checksum = true
block = 1
swap = "mapped"
[[process.vma]]
pages = 2
mapped = false
[[process]]
name = "fork"
forked_from = "B"
[[actor]]
name = "ksmd"
kind = "ksmd"
[[actor]]
name = "kswapd"
kind = "kswapd"
"""


def actor(number: int, process: str, program: list[str]) -> str:
    """Return the TOML of one user task."""
    operations = ", ".join(program)
    return (
        f'[[actor]]\nname = "task{number}"\nkind = "user_task"\nprocess = "{process}"\n'
        f"program = [{operations}]\n"
    )


PROGRAMS = st.lists(
    st.tuples(st.sampled_from(["A", "B", "fork"]), st.lists(OPERATIONS, min_size=1, max_size=4)),
    min_size=1,
    max_size=3,
)


@pytest.mark.trio
@on_each_host
@given(programs=PROGRAMS, schedule=CHOICES, faults=st.lists(st.integers(0, 1), max_size=40))
@settings(max_examples=20)
async def test_any_program_runs_to_its_end_and_replays(
    programs: list[tuple[str, list[str]]], schedule: list[int], faults: list[int], host: str
) -> None:
    text = TEMPLATE + "".join(actor(i, p, ops) for i, (p, ops) in enumerate(programs))
    await assert_replays(parse_scenario(text, "drawn"), (), Choices(schedule, [], faults), host)


@pytest.mark.trio
@on_each_host
@given(programs=PROGRAMS, seeds=st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
@settings(max_examples=30)
async def test_any_program_on_the_full_kernel_shows_its_known_defects_only(
    programs: list[tuple[str, list[str]]], seeds: list[int], host: str
) -> None:
    text = TEMPLATE + "".join(actor(i, p, ops) for i, (p, ops) in enumerate(programs))
    scenario, kernel, issues = parse_scenario(text, "drawn"), build_kernel(), load_known_issues()
    for seed in seeds:
        outcome = await execute(scenario, kernel, resolve(None, seed, points=600), host=host)
        for finding in outcome.findings:
            assert match_known(finding.signature, issues) is not None, finding
