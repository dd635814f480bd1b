"""BACK: one cgroup interface, drivers v1 and v2."""

from __future__ import annotations

from gocker.cgroup.manager import open_manager, other_managers

__all__ = ["open_manager", "other_managers"]
