# SPDX-License-Identifier: GPL-2.0-or-later
"""Subjects: what can be executed, as plain data that goes to worker processes.

Either a scenario under a kernel, or a program of `ksmtrio.sched` in a file of the user's. Loading a
program runs its file, as importing it would. Tests: `tests/unit/test_subject.py`.
"""

from __future__ import annotations

import sys
from functools import cache
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeAlias

import attrs

from ksmtrio.errors import BadInput
from ksmtrio.kconfig import Kernel
from ksmtrio.scenario import Scenario
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


def load_subject(name: str) -> ProgramSubject:
    """Return the program ``FILE.py:NAME``.

    Raises:
        BadInput: there is no such file or name, the file raises, or the name is no program.
    """
    file, _, instance = name.partition(":")
    try:
        digest = sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror or error}") from error
    _build_of(file, instance, digest)
    return ProgramSubject(file, instance, digest)


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
    path = Path(file).resolve()
    spec = spec_from_file_location(f"ksmtrio_program_{digest[:16]}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BadInput(f"{file}: is no Python file")
    module = module_from_spec(spec)
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(f"{file}: raises {type(error).__name__}: {error}") from error
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
        and not value.__name__.startswith("_")
    )
