# SPDX-License-Identifier: GPL-2.0-or-later
"""The records of a trace, one JSON object a line, each validated field by field.

Order: one `header`, any number of `event` and `choice` records, the `finding` records, one
`footer`. The encoding is canonical: fields in the order below, keys of free-form fields sorted, so
that equal records are equal bytes. The header is self-contained; what it says of versions is for
people and in no digest. Tests: `tests/unit/test_trace_format.py`.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ksmtrio.errors import BadInput
from ksmtrio.kconfig import KERNELS, SWITCHES, Kernel, build_kernel
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.tracepoints.base import Event
from ksmtrio.tracepoints.registry import FORMAT_VERSION

TRACE_BYTES_MAX: Final = 64 << 20
"""Largest trace, uncompressed: no longer one is written, and none is read."""

SCENARIO_CHARS_MAX: Final = 1 << 20
"""Longest scenario text in a header, in characters."""

_NAME_CHARS_MAX: Final = 1 << 12
_TEXT_CHARS_MAX: Final = 1 << 16
_ITEMS_MAX: Final = 1 << 12

Natural = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Name = Annotated[str, Meta(max_length=_NAME_CHARS_MAX)]
Text = Annotated[str, Meta(max_length=_TEXT_CHARS_MAX)]
Hex = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Stream: TypeAlias = Literal["schedule", "data", "faults"]
Item: TypeAlias = int | Text | bool | list[Any] | None
Verdict: TypeAlias = Literal["finding", "clean"]


class _Record(Struct, frozen=True, forbid_unknown_fields=True, tag_field="record"):
    """Base of all records."""


class ScenarioText(Struct, frozen=True, forbid_unknown_fields=True):
    """The effective scenario: name, where it came from, and its full text."""

    name: Name
    source: Name
    text: Annotated[str, Meta(max_length=SCENARIO_CHARS_MAX)]


class KernelState(Struct, frozen=True, forbid_unknown_fields=True):
    """The kernel: name of the base and every switch."""

    name: Name
    switches: Annotated[dict[Name, bool], Meta(max_length=_ITEMS_MAX)]


class StrategyState(Struct, frozen=True, forbid_unknown_fields=True):
    """The strategy that made the choices, with its effective parameters; ``replay`` for a list.

    `target` and `counts` are there only where a strategy has them.
    """

    name: Name
    seed: Natural = 0
    depth: Natural = 0
    points: Natural = 0
    target: Name | UnsetType = UNSET
    counts: Annotated[tuple[Natural, ...], Meta(max_length=_ITEMS_MAX)] | UnsetType = UNSET


class ProgramFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A program by file, name in it, and SHA-256 of the file, which itself is not in the trace."""

    file: Name
    instance: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Header(_Record, frozen=True, tag="header", kw_only=True, omit_defaults=True):
    """First record: all that an execution is a function of, except its choices.

    That is a scenario and a kernel, or else a program.
    """

    format: Natural
    scenario: ScenarioText | None = None
    kernel: KernelState | None = None
    program: ProgramFile | None = None
    strategy: StrategyState
    seed: Natural
    ksmtrio: Name
    python: Name


class EventRecord(_Record, frozen=True, tag="event"):
    """An operation on a cell or lock, or a tracepoint."""

    step: Natural
    actor: Name
    point: Name
    event: Name
    fields: Annotated[dict[Name, Item], Meta(max_length=_ITEMS_MAX)]

    def to_event(self) -> Event:
        """Return the event without its envelope."""
        return Event(self.step, self.actor, self.point, self.event, dict(self.fields))


class ChoiceRecord(_Record, frozen=True, tag="choice"):
    """A choice that was taken: index `index` of `of` alternatives, at the label `at`."""

    step: Natural
    actor: Name
    at: Name
    stream: Stream
    index: Natural
    of: Natural
    what: Name


class FindingRecord(_Record, frozen=True, tag="finding"):
    """What an oracle saw; all findings of the execution stand together before the footer."""

    signature: Text
    oracle: Name
    kind: Name
    point: Name
    other: Name
    message: Text
    actors: Annotated[list[Name], Meta(max_length=_ITEMS_MAX)]
    corrupting: bool
    step: Natural


class Footer(_Record, frozen=True, tag="footer"):
    """Last record: the verdict, schedule points passed, and the two digests."""

    verdict: Verdict
    points: Natural
    stop_reason: Name
    findings: Natural
    events_digest: Hex
    machine_digest: Hex


Record: TypeAlias = Header | EventRecord | ChoiceRecord | FindingRecord | Footer
BodyRecord: TypeAlias = EventRecord | ChoiceRecord | FindingRecord
KINDS: Final = ("header", "event", "choice", "finding", "footer")

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Record).decode


class _Version(Struct, tag="header", tag_field="record"):
    """Only what tells which reader a file wants."""

    format: int


_decode_version = msgspec.json.Decoder(_Version).decode


@cache
def ksmtrio_version() -> str:
    """Return the version of the installed ksmtrio."""
    try:
        return version("ksmtrio")
    except PackageNotFoundError:
        return "not installed"


def encode(record: Record) -> bytes:
    """Return the canonical JSON of a record, without a line end."""
    return _encode(record)


def decode(line: bytes) -> Record:
    """Return the record in a line.

    Raises:
        msgspec.MsgspecError, ValueError: not JSON, or not a valid record; the text says where.
    """
    record: Record = _decode(line)
    return record


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as plain data, for reports."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def check_version(line: bytes) -> None:
    """Refuse a header of another format before its fields are looked at.

    Raises:
        BadInput: another version; the text says which is accepted.
        msgspec.MsgspecError, ValueError: not a header at all.
    """
    version = _decode_version(line).format
    if version != FORMAT_VERSION:
        raise BadInput(f"trace format {version} is unknown; this ksmtrio reads {FORMAT_VERSION}")


def build_header(
    of: tuple[ScenarioText, Kernel] | ProgramFile, strategy: StrategySpec | None
) -> Header:
    """Return the header of an execution that is about to be recorded.

    Args:
        of: scenario and kernel, as effective, or the program.
        strategy: what makes the choices; None when they come from a list.
    """
    spec = StrategySpec("replay", 0) if strategy is None else strategy
    scenario, kernel, program = None, None, None
    if isinstance(of, ProgramFile):
        program = of
    else:
        scenario = of[0]
        kernel = KernelState(of[1].name.split()[0], of[1].switches())
    return Header(
        format=FORMAT_VERSION,
        scenario=scenario,
        kernel=kernel,
        program=program,
        strategy=StrategyState(
            spec.name,
            spec.seed,
            spec.depth,
            spec.points,
            spec.target or UNSET,
            spec.counts or UNSET,
        ),
        seed=spec.seed,
        ksmtrio=ksmtrio_version(),
        python=platform.python_version(),
    )


def executed_of(header: Header) -> tuple[ScenarioText, Kernel] | ProgramFile:
    """Return what a header says was executed.

    Switches that the trace does not know keep the state they have in the base kernel.

    Raises:
        BadInput: neither or both, unknown kernel or switch.
    """
    if header.program is not None and header.scenario is None and header.kernel is None:
        return header.program
    if header.program is not None or header.scenario is None or header.kernel is None:
        raise BadInput("a header names a scenario and a kernel, or else a program")
    return header.scenario, _kernel_of(header.kernel)


def _kernel_of(state: KernelState) -> Kernel:
    if state.name not in KERNELS:
        known = ", ".join(KERNELS)
        raise BadInput(f"kernel.name {state.name!r} is unknown; known kernels: {known}")
    unknown = sorted(set(state.switches) - set(SWITCHES))
    if unknown:
        raise BadInput(f"kernel.switches: {unknown[0]!r} is not a switch of this ksmtrio")
    base = build_kernel(state.name).switches()
    changed = {name: state.switches.get(name, base[name]) for name in SWITCHES}
    return build_kernel(
        state.name,
        with_=[name for name in SWITCHES if changed[name] and not base[name]],
        without=[name for name in SWITCHES if base[name] and not changed[name]],
    )
