# SPDX-License-Identifier: GPL-2.0-or-later
"""Typed event records, grouped by the kernel's trace systems, and the version of their schema."""

from ksmtrio.tracepoints.base import Event, Value, render
from ksmtrio.tracepoints.registry import EVENT_SYSTEMS, FORMAT_VERSION, check_event

__all__ = ["EVENT_SYSTEMS", "FORMAT_VERSION", "Event", "Value", "check_event", "render"]
