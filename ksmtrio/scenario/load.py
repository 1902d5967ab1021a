# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads scenarios: finds the file, parses it, builds the records of `schema.py`.

Every fault of a file is one `ScenarioError` with one line of text. What the keys may hold is here;
whether the parts fit together is in `check.py`. Imports no actor: kinds of actors are names.
Tests: `tests/unit/test_scenario_load.py`.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Collection
from functools import cache, partial
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import attrs

from ksmtrio.errors import ScenarioError
from ksmtrio.scenario import check
from ksmtrio.scenario.lines import TooDeep, line_map
from ksmtrio.scenario.pairs import pair_names, pair_text, sample_of_pairs
from ksmtrio.scenario.program import COUNT_MAX, read_op
from ksmtrio.scenario.reader import (
    Place,
    Table,
    errno_name,
    int_in,
    is_int,
    last_key,
    list_of,
    page_ref,
    scenario_error,
    shown,
    word_of,
)
from ksmtrio.scenario.schema import (
    CONTENT_MAX,
    COUNTERS,
    FAULTS,
    FORMAT,
    SWAP_STATES,
    ActorSpec,
    EndSpec,
    FrozenMap,
    KsmSpec,
    MachineSpec,
    MergedSpec,
    NotifierSpec,
    ProcessSpec,
    Scenario,
    VmaSpec,
)

SIZE_MAX_BYTES: Final = 1 << 20
LINE_MAX: Final = 4096
"""Longest line, in characters: the parser's work grows with the square of a key's length."""

DEVICE: Final = "writeback"
"""Kind, and default name, of the actor that serves the swap device's queue."""

ENTRY_POINT_GROUP: Final = "ksmtrio.actors"

_CPUS_MAX = _NODES_MAX = 64
_BLOCKS_MAX = 256
_PAGES_MAX = 1024
_POINTS_MAX = 100_000_000
_PLACE_IN_MESSAGE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def builtin_groups() -> dict[str, list[str]]:
    """Return the names of the scenarios that ship with ksmtrio, by group, sorted in each.

    ``races`` are the files of the library, ``pairs`` those that `pairs.py` writes.
    """
    library = files("ksmtrio.scenario") / "library"
    names = [f.name for f in library.iterdir()] if library.is_dir() else []
    races = sorted(name[: -len(".toml")] for name in names if name.endswith(".toml"))
    return {"races": races, "pairs": pair_names()}


def builtin_names() -> list[str]:
    """Return the names of the scenarios that ship with ksmtrio, group by group."""
    return [name for names in builtin_groups().values() for name in names]


def sample_names() -> list[str]:
    """Return what stands for all built-in scenarios where all would take too long."""
    return [*builtin_groups()["races"], *sample_of_pairs()]


@cache
def installed_kinds() -> tuple[str, ...]:
    """Return the actor kinds of all installed packages, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)}))


def load_scenario(name_or_path: str, kinds: Collection[str] | None = None) -> Scenario:
    """Read a built-in scenario by its name, or a TOML file by its path.

    Args:
        name_or_path: a built-in name wins over a file of the same name in the working directory.
        kinds: as in `parse_scenario`.

    Raises:
        ScenarioError: no such scenario, or it cannot be used.
    """
    groups = builtin_groups()
    if name_or_path in groups["pairs"]:
        return parse_scenario(pair_text(name_or_path), name_or_path, kinds)
    if name_or_path in groups["races"]:
        resource = files("ksmtrio.scenario") / "library" / f"{name_or_path}.toml"
        return parse_scenario(_decoded(resource.read_bytes(), name_or_path), name_or_path, kinds)
    try:
        path = Path(name_or_path)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a FIFO would be waited for
            raise scenario_error(name_or_path, None, "is no regular file", "expected a TOML file")
        with path.open("rb") as file:
            data = file.read(SIZE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise scenario_error(
            name_or_path,
            None,
            "no such scenario or file",
            f"give the path of a TOML file or one of: {', '.join(groups['races'])}; or a pair",
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise scenario_error(
            name_or_path, None, f"cannot be read ({reason})", "expected a TOML file"
        ) from None
    return parse_scenario(_decoded(data, name_or_path), name_or_path, kinds)


def parse_scenario(text: str, source: str, kinds: Collection[str] | None = None) -> Scenario:
    """Build a scenario from TOML.

    Args:
        text: the document.
        source: what errors call it.
        kinds: actor kinds that exist; None asks the installed packages, and checks no kind where
            nothing is installed (a bare checkout).

    Raises:
        ScenarioError: it is no TOML, breaks the format or describes an impossible start state.
    """
    document, place = _parse_toml(text, source)
    if kinds is None:
        kinds = installed_kinds() or None
    table = Table(place, document, _TOP_KEYS)
    version = table.required("format")
    if not is_int(version) or version != FORMAT:
        raise place.at("format").error(
            f"format is {shown(version)}", f"this version reads format {FORMAT}"
        )
    machine = _machine(place.at("machine"), document.get("machine", {}))
    scenario = Scenario(
        format=FORMAT,
        name=table.name(),
        description=table.string("description", ""),
        machine=machine,
        ksm=_ksm(place.at("ksm"), document.get("ksm", {})),
        processes=_resolve_forks(place, table.tables("process", _process)),
        notifiers=table.tables("notifier", _notifier),
        actors=_with_device(table.tables("actor", partial(_actor, kinds=kinds)), machine),
        faults=tuple(word_of(spot, item, FAULTS) for spot, item in table.items("faults")),
        end=_end(place.at("end"), document.get("end", {})),
        text=text,
        source=source,
    )
    check.check_scenario(scenario, place)
    return scenario


def _with_device(actors: tuple[ActorSpec, ...], machine: MachineSpec) -> tuple[ActorSpec, ...]:
    """Add the swap device where there is swap and none was listed: without it all I/O hangs."""
    if not machine.swap_slots or any(actor.kind == DEVICE for actor in actors):
        return actors
    return (*actors, ActorSpec(name=DEVICE, kind=DEVICE))


_TOP_KEYS: Final = (
    "format",
    "name",
    "description",
    "faults",
    "machine",
    "ksm",
    "process",
    "notifier",
    "actor",
    "end",
)


def _decoded(data: bytes, source: str) -> str:
    """Return the text of a file, line ends as they are."""
    if len(data) > SIZE_MAX_BYTES:
        raise scenario_error(
            source, None, "the file is too large", f"at most {SIZE_MAX_BYTES} bytes are allowed"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise scenario_error(
            source, line, f"byte {data[error.start]:#04x} is not valid UTF-8", "expected TOML text"
        ) from None


def _parse_toml(text: str, source: str) -> tuple[dict[str, Any], Place]:
    if len(text) > SIZE_MAX_BYTES:
        raise scenario_error(
            source, None, "the text is too large", f"at most {SIZE_MAX_BYTES} bytes are allowed"
        )
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LINE_MAX:
            raise scenario_error(
                source,
                number,
                f"the line has {len(line)} characters",
                f"at most {LINE_MAX} are allowed",
            )
        if "\0" in line:
            raise scenario_error(source, number, "there is a NUL byte", "expected TOML text")
    try:
        document = tomllib.loads(text)
        return document, Place(source, line_map(text))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(str(error), text, source) from None
    except TooDeep as error:
        raise scenario_error(
            source, error.line, "nested too deeply", "a scenario needs five levels"
        ) from None
    except RecursionError:
        raise scenario_error(
            source, 1, "nested too deeply", "a scenario needs five levels"
        ) from None
    except ValueError as error:  # a number that the parser refuses to convert, for instance
        raise scenario_error(
            source, 1, f"not TOML: {shown(str(error))}", "expected a TOML document"
        ) from None


def _syntax_error(message: str, text: str, source: str) -> ScenarioError:
    """Return our error for the parser's."""
    line = text.count("\n") + (not text.endswith("\n"))
    match = _PLACE_IN_MESSAGE.search(message)
    if match:
        message = message[: match.start()]
        line = int(match[1]) if match[1] else line
    wrong = "".join(c if c.isprintable() else "?" for c in message)
    return scenario_error(source, max(line, 1), f"not TOML: {wrong}", "expected a TOML document")


def _machine(place: Place, value: object) -> MachineSpec:
    keys = (
        "cpus",
        "nodes",
        "blocks_per_node",
        "pages_per_block",
        "pages_per_pageblock",
        "movable_blocks",
        "mixed_zone_blocks",
        "pagevecs",
        "hibernation",
        "offline_timeout_jiffies",
        "points_max",
        "swap_slots",
    )
    table = Table(place, value, keys)
    machine = MachineSpec(
        cpus=table.integer("cpus", 0, 0, _CPUS_MAX),
        nodes=table.integer("nodes", 2, 1, _NODES_MAX),
        blocks_per_node=table.integer("blocks_per_node", 1, 1, _BLOCKS_MAX),
        pages_per_block=table.integer("pages_per_block", 8, 1, _PAGES_MAX),
        pages_per_pageblock=table.integer("pages_per_pageblock", 0, 0, _PAGES_MAX),
        movable_blocks=_blocks(table, "movable_blocks"),
        mixed_zone_blocks=_blocks(table, "mixed_zone_blocks") or (),
        pagevecs=table.boolean("pagevecs", default=True),
        hibernation=table.boolean("hibernation", default=False),
        offline_timeout_jiffies=table.integer("offline_timeout_jiffies", 8, 0, COUNT_MAX),
        points_max=table.integer("points_max", 20_000, 1, _POINTS_MAX),
        swap_slots=table.integer("swap_slots", 0, 0, _PAGES_MAX),
    )
    if machine.nr_blocks > _BLOCKS_MAX:
        raise place.at("blocks_per_node").error(
            f"the machine has {machine.nr_blocks} memory blocks", f"at most {_BLOCKS_MAX} fit"
        )
    return machine


def _blocks(table: Table, key: str) -> tuple[int, ...] | None:
    if key not in table:
        return None
    return tuple(int_in(spot, item, 0, _BLOCKS_MAX) for spot, item in table.items(key))


def _ksm(place: Place, value: object) -> KsmSpec:
    keys = ("run", "pages_to_scan", "sleep_millisecs", "batches", "cursor", "merged")
    table = Table(place, value, keys)
    cursor = page_ref(place.at("cursor"), table.value["cursor"]) if "cursor" in table else None
    return KsmSpec(
        run=table.integer("run", 1, 0, 1),
        pages_to_scan=table.integer("pages_to_scan", 100, 0, COUNT_MAX),
        sleep_millisecs=table.integer("sleep_millisecs", 20, 0, COUNT_MAX),
        batches=table.integer("batches", 1, 0, COUNT_MAX),
        cursor=cursor,
        merged=table.tables("merged", _merged),
    )


def _merged(place: Place, value: object) -> MergedSpec:
    table = Table(place, value, ("pages",))
    table.required("pages")
    pages = table.page_refs("pages")
    if not pages:
        raise place.at("pages").error("pages is empty", "at least one page is needed")
    return MergedSpec(pages=pages)


def _process(place: Place, value: object) -> ProcessSpec:
    table = Table(place, value, ("name", "vma", "forked_from", "at"))
    name = table.name()
    if "forked_from" not in table:
        if "at" in table:
            raise place.at("at").error("at is given without forked_from", "add forked_from")
        return ProcessSpec(name=name, vmas=table.tables("vma", _vma))
    if "vma" in table:
        raise place.at("vma").error(
            "a forked process has areas of its own", "it has those of the process it forked from"
        )
    return ProcessSpec(
        name=name,
        forked_from=table.name("forked_from"),
        at=table.word("at", "start", ("start", "fork")),
    )


def _resolve_forks(place: Place, processes: tuple[ProcessSpec, ...]) -> tuple[ProcessSpec, ...]:
    """Give each forked process the areas of its parent, which stands before it."""
    resolved: dict[str, ProcessSpec] = {}
    for number, process in enumerate(processes):
        if process.forked_from is not None:
            parent = resolved.get(process.forked_from)
            if parent is None or parent.forked_from is not None:
                known = ", ".join(n for n, p in resolved.items() if p.forked_from is None)
                raise place.at("process", number, "forked_from").error(
                    f"there is no process {shown(process.forked_from)} to fork from",
                    f"processes before it that are no forks: {known or 'none'}",
                )
            resolved[process.name] = attrs.evolve(process, vmas=parent.vmas)
        else:
            resolved.setdefault(process.name, process)
    return tuple(
        resolved[process.name] if process.forked_from is not None else process
        for process in processes
    )


def _vma(place: Place, value: object) -> VmaSpec:
    keys = (
        "pages",
        "contents",
        "mergeable",
        "node",
        "block",
        "locked",
        "pte",
        "checksum",
        "swap",
        "mapped",
    )
    table = Table(place, value, keys)
    pages = int_in(place.at("pages"), table.required("pages"), 1, _PAGES_MAX)
    vma = VmaSpec(
        pages=pages,
        contents=_contents(place.at("contents"), table.value.get("contents", "-"), pages),
        mergeable=table.boolean("mergeable", default=False),
        node=table.optional_integer("node", 0, _NODES_MAX),
        block=table.optional_integer("block", 0, _BLOCKS_MAX),
        locked=table.boolean("locked", default=False),
        pte=table.word("pte", "rw", ("rw", "ro")),
        checksum=table.boolean("checksum", default=False),
        swap=table.word("swap", "none", SWAP_STATES),
        mapped=table.boolean("mapped", default=True),
    )
    if not vma.mapped and table.value.keys() - {"pages", "mapped"}:
        raise place.error("an area that is not mapped has other keys", "give its pages only")
    if vma.node is not None and vma.block is not None:
        raise place.at("block").error("both node and block are given", "give one of them")
    if vma.locked and vma.swap not in ("none", "mapped"):
        raise place.at("locked").error(
            f"a locked area with swap = {vma.swap!r}", "mlock keeps its pages in memory"
        )
    if vma.checksum and not vma.mergeable:
        raise place.at("checksum").error(
            "checksum is true in an area that is not mergeable", "KSM has no rmap_items for it"
        )
    return vma


def _contents(place: Place, value: object, pages: int) -> tuple[int | None, ...]:
    """Return a token for each page, from a list or from one token for all."""
    if not isinstance(value, list):
        return (_token(place, value),) * pages
    contents = tuple(_token(spot, item) for spot, item in list_of(place, value))
    if len(contents) != pages:
        raise place.error(
            f"contents has {len(contents)} elements for {pages} pages", "give one for each page"
        )
    return contents


def _token(place: Place, value: object) -> int | None:
    if value == "-":
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= CONTENT_MAX:
        raise place.error(
            f"{last_key(place)} is {shown(value)}",
            f'expected an integer from 0 to {CONTENT_MAX}, or "-" for a page never touched',
        )
    return value


def _notifier(place: Place, value: object) -> NotifierSpec:
    table = Table(place, value, ("name", "priority", "veto", "errno", "lock"))
    error = table.string("errno", "")
    veto = table.boolean("veto", default=False)
    if error:
        error = errno_name(place.at("errno"), error).removeprefix("-")
        if not veto:
            raise place.at("errno").error("errno is given without veto", "add veto = true")
    return NotifierSpec(
        name=table.name(),
        priority=table.integer("priority", 0, -(2**31), 2**31 - 1),
        veto=veto,
        errno=error,
        lock=table.boolean("lock", default=False),
    )


def _actor(place: Place, value: object, *, kinds: Collection[str] | None) -> ActorSpec:
    table = Table(place, value, ("name", "kind", "process", "cpu", "program", "repeat"))
    kind = table.string("kind")
    if kinds is not None:
        word_of(place.at("kind"), kind, sorted(kinds))
    return ActorSpec(
        name=table.name(),
        kind=kind,
        process=table.name("process") if "process" in table else None,
        cpu=table.optional_integer("cpu", 0, _CPUS_MAX),
        program=table.tables("program", read_op),
        repeat=table.integer("repeat", 1, 1, COUNT_MAX),
    )


def _end(place: Place, value: object) -> EndSpec:
    table = Table(place, value, ("counters", "contents"))
    counters_at, contents_at = place.at("counters"), place.at("contents")
    counters = Table(counters_at, table.value.get("counters", {}), COUNTERS)
    raw = table.value.get("contents", {})
    contents = Table(contents_at, raw, raw if isinstance(raw, dict) else ())
    for key in contents.value:
        page_ref(contents_at.at(key), key)
    return EndSpec(
        counters=FrozenMap({key: counters.integer(key, 0, 0, COUNT_MAX) for key in counters.value}),
        contents=FrozenMap(
            {key: contents.integer(key, 0, 0, CONTENT_MAX) for key in contents.value}
        ),
    )
