# SPDX-License-Identifier: GPL-2.0-or-later
"""The operations that programs of scenarios may use, and what their arguments may be.

Owns the table `OPS`; `program.py` reads programs by it, `actors/operations.py` performs them.
Tests: `tests/unit/test_scenario_load.py`, `tests/unit/test_actors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from ksmtrio.scenario.schema import FrozenMap

ADVICES: Final = (
    "MERGEABLE",
    "UNMERGEABLE",
    "DONTNEED",
    "DONTFORK",
    "DOFORK",
    "NORMAL",
    "RANDOM",
    "SEQUENTIAL",
    "WILLNEED",
    "REMOVE",
)


class ArgType(Enum):
    """What an argument of an operation may be; the value says it to the user."""

    PAGE = "the number of a page of the process, from 0"
    PAGES = "a list of page numbers of the process"
    COUNT = "a number of pages, at least 1"
    VALUE = "a content token, 0 to 2147483647"
    HALF = "0 or 1"
    NODE = "the number of a node"
    NODES = "a list of node numbers"
    BLOCK = "the number of a memory block"
    PROCESS = "the name of a process"
    ACTOR = "the name of an actor"
    CHILD = "the name of a process with at = 'fork'"
    SIGNAL = "'KILL' or 'USR1'"
    PATH = "the path of a file in /sys"
    TEXT = "what to write"
    ADVICE = f"one of {', '.join(ADVICES)}"
    PROT = "a list of 'READ', 'WRITE'"
    MMAP_FLAGS = "a list of 'SHARED', 'LOCKED'"
    MODE = "'DEFAULT', 'PREFERRED', 'BIND' or 'INTERLEAVE'"
    MBIND_FLAGS = "a list of 'STRICT', 'MOVE', 'MOVE_ALL'"
    MOVE_FLAGS = "a list of 'MOVE', 'MOVE_ALL'"


REQUIRED: Final[Any] = object()
"""Default of an argument that has none."""


class Argument(NamedTuple):
    """An argument of an operation: its type, and its default or `REQUIRED`."""

    type: ArgType
    default: Any = REQUIRED


class Answers(Enum):
    """What an operation answers with, beside an errno; the value says what `expect` may be."""

    NUMBER = "a number or an errno"
    STATUSES = "a list with a status for each page, or an errno"
    TEXT = "the text or an errno"
    NOTHING = "nothing"


class OpSpec(NamedTuple):
    """An operation: what it does, its arguments, and what calls it.

    `in_process`: it acts on the actor's address space.
    """

    description: str
    arguments: Mapping[str, Argument] = FrozenMap()
    in_process: bool = True
    answers: Answers = Answers.NUMBER


_PAGE: Final = Argument(ArgType.PAGE)
_TARGET: Final = Argument(ArgType.PROCESS, None)
_HERE: Final[Mapping[str, Argument]] = FrozenMap({"page": _PAGE})
_RANGE: Final[Mapping[str, Argument]] = FrozenMap(
    {"page": _PAGE, "pages": Argument(ArgType.COUNT, 1)}
)
_BLOCK: Final[Mapping[str, Argument]] = FrozenMap({"block": Argument(ArgType.BLOCK)})
_PATH: Final[Mapping[str, Argument]] = FrozenMap({"path": Argument(ArgType.PATH)})


def _with(arguments: Mapping[str, Argument], **more: Argument) -> Mapping[str, Argument]:
    return FrozenMap({**arguments, **more})


OPS: Final[Mapping[str, OpSpec]] = FrozenMap(
    {
        "load": OpSpec("read one half of a page", _with(_HERE, half=Argument(ArgType.HALF, 0))),
        "store": OpSpec(
            "write one half of a page, or both",
            _with(_HERE, value=Argument(ArgType.VALUE), half=Argument(ArgType.HALF, None)),
        ),
        "madvise": OpSpec(
            "give advice on a range, as that its pages may be merged",
            _with(_RANGE, advice=Argument(ArgType.ADVICE)),
        ),
        "mbind": OpSpec(
            "bind a range to nodes, moving its pages",
            _with(
                _RANGE,
                nodes=Argument(ArgType.NODES, ()),
                mode=Argument(ArgType.MODE, "BIND"),
                flags=Argument(ArgType.MBIND_FLAGS, ("MOVE",)),
            ),
        ),
        "move_pages": OpSpec(
            "move single pages to a node",
            FrozenMap(
                {
                    "pages": Argument(ArgType.PAGES),
                    "node": Argument(ArgType.NODE),
                    "flags": Argument(ArgType.MOVE_FLAGS, ("MOVE",)),
                    "target": _TARGET,
                }
            ),
            answers=Answers.STATUSES,
        ),
        "query_pages": OpSpec(
            "ask move_pages where pages are",
            FrozenMap({"pages": Argument(ArgType.PAGES), "target": _TARGET}),
            answers=Answers.STATUSES,
        ),
        "migrate_pages": OpSpec(
            "move the whole process from nodes to nodes; answers how many pages could not be moved",
            FrozenMap(
                {
                    "old_nodes": Argument(ArgType.NODES),
                    "new_nodes": Argument(ArgType.NODES),
                    "target": _TARGET,
                }
            ),
        ),
        "numa_maps": OpSpec(
            "read where the pages of each area are",
            FrozenMap({"target": _TARGET}),
            answers=Answers.TEXT,
        ),
        "soft_offline": OpSpec("move a page away from its frame, and retire the frame", _HERE),
        "mmap": OpSpec(
            "map fresh memory at a place; answers the number of its first page",
            _with(
                _RANGE,
                prot=Argument(ArgType.PROT, ("READ", "WRITE")),
                flags=Argument(ArgType.MMAP_FLAGS, ()),
            ),
        ),
        "mremap": OpSpec(
            "resize or move a mapping; answers the number of its first page",
            _with(
                _RANGE,
                new_pages=Argument(ArgType.COUNT, None),
                to=Argument(ArgType.PAGE, None),
            ),
        ),
        "mlock": OpSpec("fault a range in and keep it in memory", _RANGE),
        "munlock": OpSpec("undo mlock", _RANGE),
        "munmap": OpSpec("unmap a range", _RANGE),
        "pin": OpSpec("take a reference on a page and keep it, as vmsplice does", _HERE),
        "unpin": OpSpec("drop the references that pin took on what was mapped there", _HERE),
        "fork": OpSpec(
            "make a copy of the process", FrozenMap({"child": Argument(ArgType.CHILD, None)})
        ),
        "exit": OpSpec("end the process", answers=Answers.NOTHING),
        "kill": OpSpec(
            "send a signal to the task of an actor",
            FrozenMap(
                {"actor": Argument(ArgType.ACTOR), "signal": Argument(ArgType.SIGNAL, "KILL")}
            ),
            in_process=False,
        ),
        "reclaim": OpSpec(
            "free pages, as an allocation does that finds none",
            FrozenMap({"pages": Argument(ArgType.COUNT, 1)}),
            in_process=False,
        ),
        "swapoff": OpSpec("bring all pages back from swap", in_process=False),
        "offline": OpSpec("take a memory block offline", _BLOCK, in_process=False),
        "online": OpSpec("bring a memory block online", _BLOCK, in_process=False),
        "remove_section": OpSpec(
            "remove the memory map of an offline block", _BLOCK, in_process=False
        ),
        "sysfs_read": OpSpec("read a file", _PATH, in_process=False, answers=Answers.TEXT),
        "sysfs_write": OpSpec(
            "write a file", _with(_PATH, text=Argument(ArgType.TEXT)), in_process=False
        ),
    }
)
"""Operation -> what it does and takes."""
