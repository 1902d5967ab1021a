# SPDX-License-Identifier: GPL-2.0-or-later
"""Every exception that crosses a room of ksmtrio, and nothing else.

`KernelBug` and its kin are findings of the emulated machine; `EmulatorError` is a fault of ours;
`BadInput` and its kin are the user's to mend (exit code 2).
Tests: with the module that raises each.
"""

from __future__ import annotations

import errno as _errno


class KsmtrioError(Exception):
    """Base of what ksmtrio raises to its callers."""


class BadInput(KsmtrioError):
    """Something the user gave cannot be used; the message is one line that says what and where."""


class ScenarioError(BadInput):
    """A scenario file is malformed or describes an impossible start state."""


class TraceError(BadInput):
    """A trace file is truncated, malformed, oversized or of an unknown version."""


class ReplayDiverged(KsmtrioError):
    """A recorded choice does not fit the execution it is replayed in."""


class EmulatorError(KsmtrioError):
    """A fault of ksmtrio itself; never a finding."""


class SyscallError(KsmtrioError):
    """A system call or a sysfs access failed with a kernel errno.

    Attributes:
        errno: positive number, as in userspace.
    """

    def __init__(self, errno: int) -> None:
        super().__init__(_errno.errorcode.get(errno, str(errno)))
        self.errno = errno


class KernelBug(KsmtrioError):
    """BUG_ON of the emulated kernel; ends the execution with a finding of the `bugs` oracle.

    Attributes:
        kind: word of the finding, e.g. ``BUG_ON``.
        at: label of the point where it was seen.
    """

    kind = "BUG_ON"

    def __init__(self, at: str, message: str) -> None:
        super().__init__(message)
        self.at = at


class VmBug(KernelBug):
    """VM_BUG_ON of the emulated kernel."""

    kind = "VM_BUG_ON"


class NullDereference(KernelBug):
    """The emulated kernel followed a NULL pointer."""

    kind = "null-dereference"
