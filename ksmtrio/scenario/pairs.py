# SPDX-License-Identifier: GPL-2.0-or-later
"""One small scenario for each pair of actors, written by a table.

All start alike: process A has a KSM page in two places, to which ksmd is about to merge a page of
B, and another page, equal to B's other one, which it sees first, so that A's becomes the KSM page.
A's are mapped read-only, as after an earlier attempt to merge them. A's frames are in block 1, B's
in block 0. What one member of a pair needs beyond that (swap, room to move to, a second process
that shares A's pages) is there only when it takes part. The TOML text is the scenario, as with the
files in the library, so traces hold it in full. Tests: `tests/unit/test_scenario_pairs.py`.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

import attrs

PREFIX: Final = "pair_"
SWAP_SLOTS: Final = 4
SWAP_PLACES: Final = ("", "mapped", "cache")
"""Where pages are at the start, in the words of a vma's `swap`."""


@attrs.frozen(kw_only=True)
class Member:
    """One half of a pair.

    Attributes:
        does: its half of the description.
        kind: actor kind.
        process: whose address space it runs in; empty: none.
        program: operations, as TOML.
        repeat: how often; 0 leaves it out.
        swap: key of `SWAP_PLACES`, how far A's pages are on their way to swap at the start; of two
            members the one who needs them further decides.
        room: whether it needs unmapped pages behind A's.
        remote: whether its calls can be about a process other than its own.
    """

    does: str
    kind: str
    process: str = ""
    program: tuple[str, ...] = ()
    repeat: int = 0
    swap: int = 0
    room: bool = False
    remote: bool = False


MEMBERS: Final[dict[str, Member]] = {
    "ksmd": Member(does="ksmd merges", kind="ksmd"),
    "kswapd": Member(does="kswapd reclaims", kind="kswapd", repeat=2, swap=1),
    "hotplug": Member(
        does="block 1 goes offline and away",
        kind="hotplug_driver",
        program=('op = "offline", block = 1', 'op = "remove_section", block = 1'),
    ),
    "hotplug2": Member(
        does="block 0 goes offline and comes back",
        kind="hotplug_driver",
        program=('op = "offline", block = 0', 'op = "online", block = 0'),
    ),
    "mbind": Member(
        does="mbind moves A to node 0",
        kind="mbind_caller",
        process="A",
        program=('op = "mbind", page = 0, pages = 3, nodes = [0], flags = ["MOVE_ALL"]',),
    ),
    "move_pages": Member(
        does="move_pages moves A to node 0 and looks",
        kind="move_pages_caller",
        process="A",
        program=(
            'op = "move_pages", pages = [2, 0], node = 0, flags = ["MOVE_ALL"]',
            'op = "query_pages", pages = [0, 2]',
        ),
        remote=True,
    ),
    "migrate_pages": Member(
        does="migrate_pages moves A to node 0",
        kind="migrate_pages_caller",
        process="A",
        program=('op = "migrate_pages", old_nodes = [1], new_nodes = [0]',),
        remote=True,
    ),
    "fault": Member(
        does="A writes and reads",
        kind="page_faulter",
        process="A",
        program=(
            'op = "store", page = 2, value = 11',
            'op = "load", page = 1',
            'op = "store", page = 0, half = 0, value = 12',
        ),
    ),
    "fork": Member(
        does="A forks a child that writes",
        kind="forker",
        process="A",
        program=('op = "fork", child = "C"', 'op = "store", page = 2, value = 11'),
    ),
    "exit": Member(does="a process exits", kind="user_task", process="A", program=('op = "exit"',)),
    "madvise": Member(
        does="A forbids and allows merging",
        kind="madviser",
        process="A",
        program=(
            'op = "madvise", page = 0, pages = 3, advice = "UNMERGEABLE"',
            'op = "madvise", page = 0, pages = 3, advice = "MERGEABLE"',
        ),
    ),
    "mremap": Member(
        does="A moves its pages and moves them back",
        kind="mremapper",
        process="A",
        program=(
            'op = "mremap", page = 0, pages = 3, to = 3',
            'op = "load", page = 3',
            'op = "mremap", page = 3, pages = 3, to = 0',
        ),
        room=True,
    ),
    "mlock": Member(
        does="A locks and unlocks its pages",
        kind="mlocker",
        process="A",
        program=('op = "mlock", page = 0, pages = 3', 'op = "munlock", page = 0, pages = 3'),
    ),
    "swapoff": Member(
        does="swapoff brings pages back",
        kind="swapoff_caller",
        program=('op = "swapoff"',),
        swap=2,
    ),
    "sysfs": Member(
        does="a write to run takes all KSM pages apart",
        kind="sysfs_writer",
        program=(
            'op = "sysfs_write", path = "/sys/kernel/mm/ksm/run", text = "2"',
            'op = "sysfs_write", path = "/sys/kernel/mm/ksm/run", text = "1"',
        ),
    ),
    "soft_offline": Member(
        does="frames of A are retired",
        kind="soft_offliner",
        process="A",
        program=('op = "soft_offline", page = 2', 'op = "soft_offline", page = 0'),
    ),
}
"""Who can be in a pair."""


CHILD: Final = Member(
    does="the child writes",
    kind="page_faulter",
    process="C",
    program=('op = "store", page = 0, value = 21', 'op = "load", page = 2'),
)
"""Third actor of the pairs that fork."""


def pair_names() -> list[str]:
    """Return the names of all pairs, sorted."""
    return sorted(_name(*pair) for pair in combinations(MEMBERS, 2))


def sample_of_pairs() -> list[str]:
    """Return a few pairs in which every member takes part."""
    keys = list(MEMBERS)
    return sorted({_name(*keys[min(i, len(keys) - 2) :][:2]) for i in range(0, len(keys), 2)})


def _name(one: str, other: str) -> str:
    return f"{PREFIX}{one}_{other}"


def pair_text(name: str) -> str:
    """Return the TOML text of a pair.

    Args:
        name: one of `pair_names()`.
    """
    keys = next(pair for pair in combinations(MEMBERS, 2) if name == _name(*pair))
    pair = {key: MEMBERS[key] for key in keys}
    if "exit" in pair:
        pair = _apart(pair)
    one, other = (member.does for member in pair.values())
    swap = max(member.swap for member in pair.values())
    lines = [
        f"# Written by the table in scenario/pairs.py: {keys[0]} meets {keys[1]}.",
        "format = 1",
        f'name = "{name}"',
        f'description = "While {one}, {other}."',
        "",
        "[machine]",
        "nodes = 2",
        "blocks_per_node = 1",
        "pages_per_block = 4",
        *([f"swap_slots = {SWAP_SLOTS}"] if swap else []),
        "",
        "[ksm]",
        "batches = 2",
        "pages_to_scan = 5",
        "",
        "[[ksm.merged]]",
        'pages = ["A:0", "A:1"]',
        *_process("B", (7, 5), block=0),
        *_process("A", (7, 7, 5), block=1, swap=SWAP_PLACES[swap], read_only=True),
        *(_ROOM if any(member.room for member in pair.values()) else []),
        *(_FORK if any(member.process == "F" for member in pair.values()) else []),
    ]
    if "fork" in pair:
        lines += ["", "[[process]]", 'name = "C"', 'forked_from = "A"', 'at = "fork"']
    for key, member in pair.items():
        lines += _actor(key, member)
    if "fork" in pair:
        lines += _actor("child", CHILD)
    return "\n".join(lines) + "\n"


def _apart(pair: dict[str, Member]) -> dict[str, Member]:
    """Give who exits a process of its own, since threads of one would only outlive each other.

    The other acts on that process from outside where its calls can; else a fresh fork of its
    process, which shares its pages, exits.
    """
    key = next(key for key in pair if key != "exit")
    other, leaver = pair[key], pair["exit"]
    if other.remote:
        program = tuple(f'{op}, target = "A"' for op in other.program)
        other = attrs.evolve(other, process="B", program=program)
    elif other.process == "A":
        leaver = attrs.evolve(leaver, process="F")
    return {name: leaver if name == "exit" else other for name in pair}


_ROOM: Final = ["", "[[process.vma]]", "pages = 3", "mapped = false"]
_FORK: Final = ["", "[[process]]", 'name = "F"', 'forked_from = "A"']


def _process(
    name: str, contents: tuple[int, ...], *, block: int, swap: str = "", read_only: bool = False
) -> list[str]:
    return [
        "",
        "[[process]]",
        f'name = "{name}"',
        "[[process.vma]]",
        f"pages = {len(contents)}",
        f"contents = {list(contents)}",
        "mergeable = true",
        "checksum = true",
        f"block = {block}",
        *(['pte = "ro"'] if read_only else []),
        *([f'swap = "{swap}"'] if swap else []),
    ]


def _actor(name: str, member: Member) -> list[str]:
    lines = ["", "[[actor]]", f'name = "{name}"', f'kind = "{member.kind}"']
    if member.process:
        lines.append(f'process = "{member.process}"')
    if member.repeat:
        lines.append(f"repeat = {member.repeat}")
    if member.program:
        lines += ["program = [", *(f"    {{ {op} }}," for op in member.program), "]"]
    return lines
