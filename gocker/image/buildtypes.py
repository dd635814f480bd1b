"""What a build is told, what it asks for, and the state of a stage."""

from __future__ import annotations

from gocker.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from gocker.image.compose import Image
    from gocker.image.unpacked import Record
    from gocker.image.written import Written

    class Runner(Protocol):
        """Runs the command of a RUN; see `gocker.cli.build`."""

        def __call__(self, run: Run) -> Written:
            """Return what it has written; `done` lets go of it.

            Raises:
                HostError: if it failed.
            """
            ...


PREDEFINED_ARGS = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY",
                    "ftp_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What a build is told beside the Dockerfile.

    `secrets`: files by their ids; `contexts`: further contexts by name, as directories.
    """

    args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    network: str = "default"
    no_cache: bool = False
    pull: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One RUN: `argv` in the image `manifest`, with its mounts as the spec has volumes."""

    manifest: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_dir: str
    user: str
    network: str
    mounts: tuple[Mapping[str, Any], ...] = ()


class Stage:
    """A stage being built: its image so far, and where that is unpacked."""

    def __init__(self, image: Image, args: dict[str, str]) -> None:
        self.image = image
        self.args = args
        self.record: Record | None = None
        self.manifest = ""
        self.own_command = False

    def variables(self) -> dict[str, str]:
        """Return what ``$NAME`` stands for: the environment, before arguments."""
        env = dict(item.partition("=")[::2] for item in self.image.config.get("Env") or ())
        return {**self.args, **env}
