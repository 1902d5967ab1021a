# SPDX-License-Identifier: GPL-2.0-or-later
"""Subjects: what can be executed, as plain data that goes to worker processes.

Either a scenario under a kernel, or a program of `ksmtrio.sched` in a file of the user's. Loading a
program runs its file, as importing it would. Tests: `tests/unit/test_subject.py`.
"""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from inspect import iscoroutinefunction
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeAlias

import attrs

from ksmtrio.errors import BadInput
from ksmtrio.kconfig import Kernel
from ksmtrio.scenario import Scenario, load_scenario
from ksmtrio.sched.program import Build, Instance


@attrs.frozen
class KernelSubject:
    """A scenario under a kernel."""

    scenario: Scenario
    kernel: Kernel

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.scenario.name

    @property
    def source(self) -> str:
        """Where the scenario is from."""
        return self.scenario.source

    @property
    def origin(self) -> str:
        """What it is, in words, for messages."""
        return f"scenario {self.scenario.source}, kernel {self.kernel.name}"


@attrs.frozen
class ProgramSubject:
    """A program by file and name.

    Attributes:
        file: path of the Python file, as given.
        instance: name in it.
        digest: SHA-256 of the file, so that a trace can tell whether it still is the same.
    """

    file: str
    instance: str
    digest: str

    @property
    def name(self) -> str:
        """``FILE.py:NAME``."""
        return f"{self.file}:{self.instance}"

    @property
    def source(self) -> str:
        """Where the program is from."""
        return self.file

    @property
    def origin(self) -> str:
        """What it is, in words, for messages."""
        return f"program {self.name}"

    def build(self) -> Build:
        """Return the program.

        Raises:
            BadInput: see `load_subject`.
        """
        return _build_of(self.file, self.instance, self.digest)


Subject: TypeAlias = KernelSubject | ProgramSubject


def is_program(name: str) -> bool:
    """Return whether a name on the command line means a program: ``FILE.py:NAME``."""
    return name.partition(":")[0].endswith(".py")


def subject_named(name: str, kernel: Kernel) -> Subject:
    """Return what a name on the command line means: a program, or a scenario under a kernel.

    Raises:
        BadInput: there is none of that name, or it is faulty.
    """
    if is_program(name):
        return load_subject(name)
    return KernelSubject(load_scenario(name), kernel)


def load_subject(name: str) -> ProgramSubject:
    """Return the program ``FILE.py:NAME``.

    Raises:
        BadInput: there is no such file or name, the file raises, or the name is no program.
    """
    file, _, instance = name.partition(":")
    digest = sha256(_source_of(file)).hexdigest()
    _build_of(file, instance, digest)
    return ProgramSubject(file, instance, digest)


def recorded_subject(file: str, instance: str, digest: str) -> ProgramSubject:
    """Return the program that a trace names; its file is run only if it still is the same.

    Raises:
        BadInput: the file is missing or differs; further as `load_subject`.
    """
    try:
        same = sha256(_source_of(file)).hexdigest() == digest
    except BadInput as error:
        raise BadInput(f"{error}; to replay a trace of a program takes its file") from error
    if not same:
        raise BadInput(f"{file}: is not the file that was recorded (sha256 {digest}); record anew")
    _build_of(file, instance, digest)
    return ProgramSubject(file, instance, digest)


def _source_of(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{file}: cannot be read: {reason}") from error


@cache
def _build_of(file: str, instance: str, digest: str) -> Build:
    module = _module_of(file, digest)
    found: Build | None = getattr(module, instance, None) if instance else None
    if found is None or not _is_program(found, module):
        names = ", ".join(_programs_in(module)) or "none"
        what = f"no program {instance!r}" if instance else "a program needs a name, FILE.py:NAME"
        raise BadInput(f"{file}: {what}; there are: {names}")
    return found


@cache
def _module_of(file: str, digest: str) -> ModuleType:
    """Run a file, as importing it would, if it has the given digest."""
    source = _source_of(file)
    if sha256(source).hexdigest() != digest:
        raise BadInput(f"{file}: has changed meanwhile")
    path = Path(file).resolve()
    module = ModuleType(f"ksmtrio_program_{digest[:16]}_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, module.__file__, "exec"), vars(module))  # noqa: S102 - the user's own
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{file}: raises {type(error).__name__}: {reason}") from error
    return module


def _programs_in(module: ModuleType) -> list[str]:
    """Return the names in a module that `bind` made, and its functions of one argument."""
    return [name for name, value in vars(module).items() if _is_program(value, module)]


def _is_program(value: object, module: ModuleType) -> bool:
    if isinstance(value, Instance):
        return True
    return (
        isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and value.__code__.co_argcount == 1
        and not value.__code__.co_kwonlyargcount
        and not iscoroutinefunction(value)
        and not value.__name__.startswith("_")
    )
