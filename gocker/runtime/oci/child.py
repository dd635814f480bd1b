"""The container's first process between clone3 and execve, as OCI's commands need it.

It makes the same steps as the launcher's containers (`gocker.runtime.init`), with these between
them: hooks, a terminal, and the wait for ``start``. It talks to ``create`` through a socket, one
message each way at a time; that ends when the container is created. Then it waits for a reader
of its FIFO, and what it writes there is the reason why its program could not be executed.
"""

from __future__ import annotations

import os

from gocker import jsontext
from gocker.errors import ContainerError, from_wire
from gocker.linux import mount, process
from gocker.linux.calls import Calls
from gocker.linux.seccomp import NEW_LISTENER
from gocker.runtime import imports, init, prepare, rootfs
from gocker.runtime.failure import FAILED_EXIT_CODE
from gocker.runtime.oci import hooks
from gocker.runtime.oci.state import CREATED, SCRATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gocker.runtime.init import Setup

_MESSAGE = 1 << 16


class Conversation:
    """One end of the socket between ``create`` and the first process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        os.write(self.fd, jsontext.dumps(message, default=str).encode())

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None if the other end is gone."""
        try:
            data = os.read(self.fd, _MESSAGE)
        except ConnectionResetError:
            return None
        return jsontext.loads(data) if data else None

    def ask(self, message: dict[str, Any]) -> None:
        """Send a message and wait for the permission to go on.

        Raises:
            GockerError: what the other end says.
        """
        self.send(message)
        answer = self.receive()
        if answer is None:
            os._exit(FAILED_EXIT_CODE)  # `create` was killed: nothing of it may live on
        if "error" in answer:
            raise from_wire(answer["error"])


class Child:
    """What the first process knows beside its `Setup`: hooks, FIFO, terminal.

    Made before it is cloned; `foreign` are descriptors that are its parent's alone.
    """

    def __init__(  # one record of the facts, built in one place
        self, setup: Setup, *, talk: Conversation, state: dict[str, Any], go_fd: int,
        result_fd: int, foreign: list[int],
    ) -> None:  # fmt: skip
        self._setup = setup
        self._talk = talk
        self._state = state
        self._go_fd = go_fd
        self._result_fd = result_fd
        self._foreign = foreign
        config: Any = setup.config  # with more keys than the launcher's subset
        self._hooks: dict[str, Any] = config.get("hooks", {})
        if setup.seccomp is not None and setup.seccomp[1] & NEW_LISTENER:
            setup.answer_fd = go_fd
        setup.inside = self._steps(setup.inside)
        setup.ready = self._ready

    def _steps(self, steps: tuple[Any, ...]) -> tuple[Any, ...]:
        before = {
            "_session": (self._begin,),
            "_root": (scratch,),
            "_pivot_root": (self._cgroup, self._runtime_hooks, self._container_hooks),
        }
        made: list[Any] = []
        for step in steps:
            made += before.get(step.__name__, ())
            made.append(step)
        return tuple(made)

    def _begin(self, _: Setup) -> None:
        """Close what is the parent's; learn the PID that the runtime's namespace has for us."""
        for fd in self._foreign:
            os.close(fd)
        imports.forget_imports()  # the file system is about to be the image's
        self._state["pid"] = int(os.readlink("/proc/self"))

    def _cgroup(self, setup: Setup) -> None:
        """Enter the cgroups before a hook looks at them."""
        calls = Calls()
        init.join(calls, setup)
        failure = calls.run()
        if failure is not None:
            raise failure
        setup.join_fds = []
        setup.namespaces &= ~process.CLONE_NEWCGROUP

    def _runtime_hooks(self, _: Setup) -> None:
        if self._hooks.get("prestart") or self._hooks.get("createRuntime"):
            self._talk.ask({"at": "hooks"})

    def _container_hooks(self, _: Setup) -> None:
        entries = self._hooks.get("createContainer")
        if entries:
            state = self._state | {"status": CREATED}
            hooks.run_all("createContainer", entries, state, self._state["bundle"])

    def _ready(self, _: Calls) -> None:
        """Everything but the program is there: say so, and wait for ``start``."""
        status_fd = self._setup.status_fd
        self._close_all_but(status_fd, self._go_fd, self._result_fd)
        self._talk.ask({"at": "ready"})
        process.prctl(process.PR_SET_PDEATHSIG, 0)
        self._talk.send({"at": "free"})  # our parent may end from now on, and not before
        # Its number is the one that stays open until execve, and it takes reports.
        os.dup2(self._result_fd, status_fd, inheritable=False)
        os.close(self._result_fd)
        os.read(self._go_fd, 1)
        entries = self._hooks.get("startContainer")
        if entries:
            self._setup.phase = "startContainer"
            state = self._state | {"status": CREATED}
            environment = self._setup.config["process"].get("env", [])
            inherited = [{"env": environment, **entry} for entry in entries]
            hooks.run_all("startContainer", inherited, state, "/")

    def _close_all_but(self, *kept: int) -> None:
        """Hold nothing of the host's while we wait, perhaps for long."""
        first = self._setup.first_fd
        for number in sorted(kept):
            process.close_range(first, number - 1)
            first = number + 1
        process.close_range(first, 0xFFFFFFFF)


def scratch(setup: Setup) -> None:
    """Receive no more mounts of the host's, or as `rootfsPropagation` says; make room."""
    if setup.namespaces & process.CLONE_NEWNS:
        mount.mount(None, "/", None, mount.MS_SLAVE | mount.MS_REC)
    prepare.fill_scratch(SCRATCH)
    joined = process.CLONE_NEWNS in setup.spaces.paths
    if joined or (setup.user is not None and not os.access(setup.root_target, os.X_OK)):
        # It is not there, or lies behind directories of the host's root.
        setup.root_target = rootfs.ROOTFS


def answer(message: dict[str, Any] | None) -> dict[str, Any]:
    """Return a message of the first process.

    Raises:
        GockerError: the error in it, or that the process is gone.
    """
    if message is None:
        raise ContainerError(
            "the container's first process was killed while it was set up",
            hint="is its memory limit too small?", phase="start",
        )  # fmt: skip
    if "at" not in message:
        raise from_wire(message)
    return message
