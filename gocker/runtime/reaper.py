"""``init: true``: a PID 1 that forwards signals and reaps, and ends with the program it started."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # no enums: they take 3 ms
import os

from gocker.linux import capability, process, seccomp, terminal
from gocker.linux.calls import Calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# Raised by the kernel for this process's own deeds; forwarding them would invent an event.
_OWN = {signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


def fork_program(seccomp_program: tuple[bytes, int] | None) -> None:
    """Fork: the child returns and becomes the program, this process stays as PID 1.

    `seccomp_program`: compiled filter and flags for PID 1, or None.
    """
    signals = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        if os.isatty(0):
            terminal.set_controlling(0)
        return
    # Nothing of the launcher may stay open here: not the status pipe, whose end of file tells
    # that the program was executed, and not the job's output.
    process.close_range(0, 0xFFFFFFFF)
    process.set_name("gocker-init")
    process.set_title("gocker-init")
    process.prctl(process.PR_SET_DUMPABLE, 0)
    confine = Calls()
    capability.add_drop_bounding(confine, {})
    capability.add_apply(confine, {"permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]})
    confine.add("prctl", process.PR_SET_NO_NEW_PRIVS, 1, phase="reaper")
    if seccomp_program is not None:
        seccomp.add_install(confine, *seccomp_program)
    if confine.run() is not None:
        os._exit(125)  # a PID 1 that is not confined must not live; the program dies with it
    _serve(child, signals)


def _serve(child: int, signals: set[int]) -> NoReturn:
    while True:
        number = signal.sigwaitinfo(signals).si_signo
        if number == signal.SIGCHLD:
            _reap(child)
        elif number not in _OWN:
            try:
                os.kill(child, number)
            except ProcessLookupError:
                pass  # gone: its SIGCHLD is on the way


def _reap(child: int) -> None:
    """Reap all that ended; end as the program ended, 128+n when a signal killed it."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            os._exit(0)
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
