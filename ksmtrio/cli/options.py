# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that several verbs share, and the types of their values. Tests: `tests/cli/`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from ksmtrio.cli.output import Output
from ksmtrio.kconfig import build_kernel
from ksmtrio.sched.hosts import HOST_DEFAULT, HOSTS

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # not generic in older versions

Verb: TypeAlias = Callable[..., None]
"""A function that becomes a command."""

KERNEL_DEFAULT: Final = "v2.6.33"

_SECONDS_PER: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smh]?)")
_RANGE: Final = re.compile(r"(\d{1,18}):(\d{1,18})")
SEED_MAX: Final = (1 << 62) - 1


class Duration(_ParamType):
    """Seconds, or a number with s, m or h: ``90``, ``2m``, ``8h``."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        match = _DURATION.fullmatch(value)
        seconds = float(match[1]) * _SECONDS_PER[match[2]] if match else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no duration; use seconds, or 2m, or 8h", param, ctx)
        return seconds


class SeedRange(_ParamType):
    """A half-open range of seeds, ``A:B``."""

    name = "A:B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> range:
        """Return the seeds."""
        if isinstance(value, range):
            return value
        match = _RANGE.fullmatch(value)
        seeds = range(int(match[1]), int(match[2])) if match else range(0)
        if not seeds:
            self.fail(f"{value!r} is no range of seeds; use A:B with A < B", param, ctx)
        return seeds


def kernel_options(function: Verb) -> Verb:
    """Add --kernel, --with and --without; the verb gets one `kernel`."""

    @wraps(function)
    def verb(
        *args: Any, kernel: str, with_: tuple[str, ...], without: tuple[str, ...], **kwargs: Any
    ) -> None:
        built = build_kernel(kernel, with_=with_, without=without)
        function(*args, kernel=built, **kwargs)

    return _with(
        verb,
        click.option("--kernel", default=KERNEL_DEFAULT, show_default=True, metavar="NAME"),
        click.option("--with", "with_", multiple=True, metavar="SWITCH", help="Turn a switch on."),
        click.option("--without", multiple=True, metavar="SWITCH", help="Turn a switch off."),
    )


def strategy_options(function: Verb) -> Verb:
    """Add --strategy and --depth."""
    return _with(
        function,
        click.option("--strategy", metavar="NAME", help="See `list strategies`. Default: swarm."),
        click.option(
            "--depth", type=click.IntRange(1, 64), help="PCT depth. Default: drawn from the seed."
        ),
    )


def host_option(function: Verb) -> Verb:
    """Add --host."""
    return _with(
        function,
        click.option(
            "--host",
            type=click.Choice(list(HOSTS)),
            default=HOST_DEFAULT,
            show_default=True,
            help="What runs the actors; the digests are the same, bare is faster.",
        ),
    )


def finding_options(function: Verb) -> Verb:
    """Add --traces and --fail-on."""
    return _with(
        function,
        click.option(
            "--traces",
            type=click.Path(path_type=Path, file_okay=False),
            default=".ksmtrio",
            show_default=True,
            help="Directory for the traces of findings.",
        ),
        click.option(
            "--fail-on",
            type=click.Choice(["new", "any"]),
            default="new",
            show_default=True,
            help="Which findings make exit code 1: those not known, or all.",
        ),
    )


def output_options(function: Verb) -> Verb:
    """Add --json, -q and --no-color; the verb gets one `output`."""

    @wraps(function)
    def verb(*args: Any, as_json: bool, quiet: bool, no_color: bool, **kwargs: Any) -> None:
        output = Output(as_json=as_json, quiet=quiet, no_color=no_color)
        function(*args, output=output, **kwargs)

    return _with(
        verb,
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, no details."),
        click.option("--no-color", is_flag=True, help="Plain text."),
    )


def jobs_default() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _with(function: Verb, *options: Callable[[Any], Any]) -> Verb:
    for option in reversed(options):
        function = option(function)
    return function
