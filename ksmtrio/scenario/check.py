# SPDX-License-Identifier: GPL-2.0-or-later
"""Says whether the parts of a scenario fit together and the start state can exist.

Reads the finished records; each fault is a `ScenarioError` at the line of the entry that is wrong.
Tests: `tests/unit/test_scenario_load.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ksmtrio.scenario.operations import OPS, ArgType
from ksmtrio.scenario.reader import Place, shown
from ksmtrio.scenario.schema import (
    ActorSpec,
    MachineSpec,
    Op,
    PageRef,
    ProcessSpec,
    Scenario,
    VmaSpec,
)


def check_scenario(scenario: Scenario, place: Place) -> None:
    """Check everything that needs more than one entry.

    Args:
        scenario: as read.
        place: the top of its document.

    Raises:
        ScenarioError: the first thing found wrong.
    """
    _check_machine(scenario.machine, place.at("machine"))
    _check_unique("process", [p.name for p in scenario.processes], place)
    _check_unique("notifier", [n.name for n in scenario.notifiers], place)
    _check_unique("actor", [a.name for a in scenario.actors], place)
    if len(set(scenario.faults)) != len(scenario.faults):
        raise place.at("faults").error("faults names one twice", "name each once")
    pages = _Pages(scenario.processes)
    for number, process in enumerate(scenario.processes):
        for index, vma in enumerate(process.vmas):
            _check_vma(vma, scenario.machine, place.at("process", number, "vma", index))
    _check_ksm(scenario, pages, place.at("ksm"))
    _check_frames(scenario, place)
    _check_slots(scenario, place)
    if not scenario.actors:
        raise place.error("there is no [[actor]]", "at least one is needed")
    for number, actor in enumerate(scenario.actors):
        _check_actor(actor, scenario, pages, place.at("actor", number))
    _check_births(scenario, place)
    for key in scenario.end.contents:
        name, _, page = key.rpartition(":")
        pages.find(PageRef(name, int(page)), place.at("end", "contents", key))


def _check_births(scenario: Scenario, place: Place) -> None:
    """Check that each process that is born by fork is born once, of its parent."""
    unborn = {process.name: process for process in scenario.processes if process.at == "fork"}
    born: set[str] = set()
    for number, actor in enumerate(scenario.actors):
        for index, op in enumerate(actor.program):
            child = op.args.get("child")
            if child is None:
                continue
            spot = place.at("actor", number, "program", index)
            _check_name("unborn process", child, list(unborn), spot.at("child"))
            if unborn[child].forked_from != actor.process:
                raise spot.error(
                    f"{child} is forked from {unborn[child].forked_from}, not {actor.process}",
                    "the actor's process is the parent",
                )
            if child in born or op.repeat * actor.repeat > 1:
                raise spot.error(f"{child} is born twice", "each process is born once")
            born.add(child)
    for number, process in enumerate(scenario.processes):
        if process.name in unborn and process.name not in born:
            raise place.at("process", number, "at").error(
                f"nobody forks {process.name}", "give an actor of its parent a fork"
            )


class _Pages:
    """Finds processes and pages by name."""

    def __init__(self, processes: Iterable[ProcessSpec]) -> None:
        self.processes = {process.name: process for process in processes}
        self.pages = {
            process.name: [(vma, content) for vma in process.vmas for content in vma.contents]
            for process in self.processes.values()
        }

    def process(self, name: str, place: Place) -> ProcessSpec:
        """Return a process, or complain at `place`."""
        _check_name("process", name, list(self.processes), place)
        return self.processes[name]

    def find(self, ref: PageRef, place: Place) -> tuple[VmaSpec, int | None]:
        """Return the area and the content of a page, or complain at `place`."""
        self.process(ref.process, place)
        pages = self.pages[ref.process]
        if ref.page >= len(pages):
            raise place.error(
                f"page {ref} is out of range", f"process {ref.process} has {len(pages)} pages"
            )
        return pages[ref.page]


def _check_name(what: str, name: str, known: list[str], place: Place) -> None:
    if name not in known:
        plural = f"{what}es" if what.endswith("s") else f"{what}s"
        raise place.error(
            f"there is no {what} {shown(name)}", f"{plural}: {', '.join(known) or 'none'}"
        )


def _check_unique(key: str, names: list[str], place: Place) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise place.at(key, number, "name").error(
                f"there are two {key} entries with the name {shown(name)}", "names must differ"
            )


def _check_machine(machine: MachineSpec, place: Place) -> None:
    pageblock = machine.pages_per_pageblock
    if pageblock and machine.pages_per_block % pageblock:
        raise place.at("pages_per_pageblock").error(
            f"pages_per_pageblock {pageblock} does not divide pages_per_block "
            f"{machine.pages_per_block}",
            "give a divisor, or 0 for the whole block",
        )
    for key in ("movable_blocks", "mixed_zone_blocks"):
        blocks = getattr(machine, key) or ()
        for index, block in enumerate(blocks):
            spot = place.at(key, index)
            _check_number("block", block, machine.nr_blocks, spot)
            if block in blocks[:index]:
                raise spot.error(f"block {block} is listed twice", "list it once")


def _check_number(what: str, number: int, count: int, place: Place) -> None:
    if number >= count:
        raise place.error(
            f"{what} {number} is out of range", f"the machine has {what}s 0 to {count - 1}"
        )


def _check_vma(vma: VmaSpec, machine: MachineSpec, place: Place) -> None:
    if vma.swap != "none" and not machine.swap_slots:
        raise place.at("swap").error("there is no swap", "give [machine] swap_slots")
    if vma.node is not None:
        _check_number("node", vma.node, machine.nodes, place.at("node"))
    if vma.block is not None:
        _check_number("block", vma.block, machine.nr_blocks, place.at("block"))


def _check_ksm(scenario: Scenario, pages: _Pages, place: Place) -> None:
    if scenario.ksm.cursor is not None:
        pages.find(scenario.ksm.cursor, place.at("cursor"))
        if pages.processes[scenario.ksm.cursor.process].at == "fork":
            raise place.at("cursor").error(
                f"process {scenario.ksm.cursor.process} does not exist at the start",
                "give a page of one that does",
            )
    seen: set[PageRef] = set()
    groups: set[int] = set()
    for number, merged in enumerate(scenario.ksm.merged):
        contents: list[int] = []
        for index, ref in enumerate(merged.pages):
            spot = place.at("merged", number, "pages", index)
            vma, content = pages.find(ref, spot)
            if pages.processes[ref.process].forked_from is not None:
                raise spot.error(
                    f"page {ref} belongs to a forked process", "name its parent's page; forks share"
                )
            if not vma.mergeable:
                raise spot.error(
                    f"page {ref} is merged but its area is not mergeable", "add mergeable = true"
                )
            if content is None:
                raise spot.error(f"page {ref} is merged but was never touched", "give it contents")
            if vma.swap == "out":
                raise spot.error(
                    f"page {ref} is merged but its area is on disk only",
                    "a KSM page that left memory is none any more; use cache or mapped",
                )
            if ref in seen:
                raise spot.error(f"page {ref} is merged twice", "name it once")
            if contents and content != contents[0]:
                raise spot.error(
                    f"page {ref} holds {content}, but {merged.pages[0]} holds {contents[0]}",
                    "merged pages have equal contents",
                )
            seen.add(ref)
            contents.append(content)
        if contents[0] in groups:
            raise place.at("merged", number).error(
                f"two KSM pages hold {contents[0]}", "one KSM page stands for equal contents"
            )
        groups.add(contents[0])


def _check_frames(scenario: Scenario, place: Place) -> None:
    """Check that the touched pages fit; merged pages need the first one's frame only."""
    machine = scenario.machine
    shared = {ref for merged in scenario.ksm.merged for ref in merged.pages[1:]}
    on_block: Counter[int] = Counter()
    on_node: Counter[int] = Counter()
    for number, process in enumerate(scenario.processes):
        page = 0
        if process.forked_from is not None:
            continue
        for index, vma in enumerate(process.vmas):
            spot = place.at("process", number, "vma", index)
            refs = [PageRef(process.name, page + offset) for offset in range(vma.pages)]
            page += vma.pages
            frames = sum(
                content is not None and ref not in shared
                for ref, content in zip(refs, vma.contents, strict=True)
            )
            if vma.block is not None:
                on_block[vma.block] += frames
                _check_room("block", vma.block, on_block, machine.pages_per_block, spot)
            node = vma.node or 0
            if vma.block is not None:
                node = vma.block // machine.blocks_per_node
            on_node[node] += frames
            _check_room(
                "node", node, on_node, machine.pages_per_block * machine.blocks_per_node, spot
            )


def _check_slots(scenario: Scenario, place: Place) -> None:
    """Check that the pages that need a slot of swap get one; merged pages need one together."""
    shared = {ref for merged in scenario.ksm.merged for ref in merged.pages[1:]}
    used = 0
    for number, process in enumerate(scenario.processes):
        if process.forked_from is not None:
            continue
        page = 0
        for index, vma in enumerate(process.vmas):
            for content in vma.contents:
                ref = PageRef(process.name, page)
                used += vma.swap != "none" and content is not None and ref not in shared
                page += 1
            if used > scenario.machine.swap_slots:
                raise place.at("process", number, "vma", index, "swap").error(
                    f"{used} pages need a slot of swap", f"there are {scenario.machine.swap_slots}"
                )


def _check_room(what: str, number: int, used: Counter[int], room: int, place: Place) -> None:
    if used[number] > room:
        raise place.error(
            f"{used[number]} touched pages do not fit on {what} {number}",
            f"it has {room} frames",
        )


def _check_actor(actor: ActorSpec, scenario: Scenario, pages: _Pages, place: Place) -> None:
    cpus = scenario.machine.cpus or len(scenario.actors)
    if actor.cpu is not None and actor.cpu >= cpus:
        raise place.at("cpu").error(
            f"cpu {actor.cpu} is out of range", f"the machine has cpus 0 to {cpus - 1}"
        )
    if actor.process is not None:
        pages.process(actor.process, place.at("process"))
    for index, op in enumerate(actor.program):
        spot = place.at("program", index)
        process, count = op.args.get("target") or actor.process, 0
        if process is not None:
            count = pages.process(process, spot.at("target")).nr_pages
        elif OPS[op.op].in_process:
            raise spot.error(f"{op.op} needs an address space", "give the actor a process")
        _check_op(op, count, scenario, spot)


def _check_op(op: Op, nr_pages: int, scenario: Scenario, place: Place) -> None:
    machine = scenario.machine
    for name, argument in OPS[op.op].arguments.items():
        value, spot = op.args[name], place.at(name)
        match argument.type:
            case ArgType.PAGE:
                if value is None:
                    continue
                _check_page(value, nr_pages, spot)
                end = value + op.args.get("pages", 1)
                if end > nr_pages:
                    _check_page(end - 1, nr_pages, place.at("pages"))
            case ArgType.PAGES:
                for position, page in enumerate(value):
                    _check_page(page, nr_pages, spot.at(position))
            case ArgType.NODE:
                _check_number("node", value, machine.nodes, spot)
            case ArgType.NODES:
                for position, node in enumerate(value):
                    _check_number("node", node, machine.nodes, spot.at(position))
            case ArgType.BLOCK:
                _check_number("block", value, machine.nr_blocks, spot)
            case ArgType.ACTOR:
                _check_name("actor", value, [actor.name for actor in scenario.actors], spot)
            case _:
                pass
    if isinstance(op.expect, tuple) and len(op.expect) != len(op.args["pages"]):
        raise place.at("expect").error(
            f"expect has {len(op.expect)} statuses for {len(op.args['pages'])} pages",
            "give one for each page",
        )


def _check_page(page: int, nr_pages: int, place: Place) -> None:
    if page >= nr_pages:
        raise place.error(f"page {page} is out of range", f"the process has {nr_pages} pages")
