"""Staying with units of a living project: their output, until they are over or Ctrl-C."""

from __future__ import annotations

import argparse
import sys

from gocker.cli.options import colour, defusing, say
from gocker.report.output import Prefixer, Sink
from gocker.scheduler import signals
from gocker.state.control import ControlLostError
from gocker.state.outcomes import of_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gocker.state.control import Channel
    from gocker.state.logs import Logs
    from gocker.state.run import Run


def follow(
    arguments: argparse.Namespace, channel: Channel, run: Run, logs: Logs, names: list[str],
    width: int,
) -> int:  # fmt: skip
    """Show units' output until all of them are over; the first Ctrl-C stops, the second kills.

    Args:
        arguments: of the command, with the options of output.
        channel: to the living project.
        run: the project's.
        logs: of the units, where to go on.
        names: services or instances.
        width: columns for the names.

    Returns:
        130 after Ctrl-C; else 1 if one failed or was cancelled, or 0.
    """
    interrupts = 0
    output = _Output(arguments, width)
    channel.ask("watch")
    over = channel.ask("await", units=names, what="over")
    while True:
        try:
            signals.release()
            output.write(logs)
            message = channel.receive()
            if message is not None and message.get("id") == over:
                break
        except KeyboardInterrupt:
            interrupts += 1
            _interrupt(channel, names, interrupts)
        except ControlLostError:
            break
    output.write(logs)
    output.close()
    sys.stdout.flush()
    if interrupts:
        return 130
    wanted = set(names)
    found = of_run(run).values()
    # A job that somebody else ended has not done what it is for.
    bad = (it.failed or it.verdict == "cancelled" for it in found
           if {it.instance, it.service} & wanted)  # fmt: skip
    return int(any(bad))


def _interrupt(channel: Channel, units: list[str], count: int) -> None:
    say("gocker: stopping; Ctrl-C again kills" if count == 1 else "gocker: killing")
    try:
        if count == 1:
            channel.ask("stop", units=units, timeout_s=None)
        else:
            channel.ask("kill", units=units, signal=9)
    except ControlLostError:
        pass  # it has ended by itself


class _Output:
    def __init__(self, arguments: argparse.Namespace, width: int) -> None:
        self._sink = Sink(1)
        self._writers: dict[tuple[str, int], Prefixer] = {}
        self._arguments = arguments
        self._width = width
        self._defuse = defusing(getattr(arguments, "ci", "auto"))

    def write(self, logs: Logs) -> None:
        for instance, attempt, chunk in logs.read():
            self._writer(instance, attempt).feed(chunk)

    def _writer(self, instance: str, attempt: int) -> Prefixer:
        writer = self._writers.get((instance, attempt))
        if writer is None:
            arguments = self._arguments
            name = "" if arguments.no_log_prefix else instance
            index = len(self._writers) if colour(arguments, 1) else None
            writer = self._writers[instance, attempt] = Prefixer(
                self._sink, name, self._width, colour=index, timestamps=arguments.timestamps,
                clean=self._sink.isatty() or self._defuse is not None, defuse=self._defuse,
            )  # fmt: skip
        return writer

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
