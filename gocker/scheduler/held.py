"""Holds back the signals that end gocker while something half made would be left behind."""

from __future__ import annotations

# `signal` itself is constants made into enums: it would run before the launcher does.
import _signal  # type: ignore[import-not-found]  # in no stubs

SIGNALS: tuple[int, ...] = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


def hold() -> None:
    """Let SIGINT, SIGTERM and SIGHUP wait (pthread_sigmask(3)) until `release`."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, SIGNALS)


def release() -> None:
    """Let them through; one that waited is handled before this returns.

    Raises:
        KeyboardInterrupt: for a SIGINT that waited, where nothing else handles it.
    """
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, SIGNALS)
