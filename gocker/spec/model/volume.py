"""Mounts of services and top-level volumes: compose-spec 05-services.md, 07-volumes.md."""

from typing import Literal

from pydantic import Field

from gocker.spec.model.base import Bytes, Mode, Model

Propagation = Literal["private", "rprivate", "shared", "rshared", "slave", "rslave"]


class Bind(Model):
    """``volumes[].bind``."""

    create_host_path: bool = Field(True, description="make a missing source directory")
    propagation: Propagation | None = Field(None, description="default rprivate")
    recursive: Literal["enabled", "disabled", "writable", "readonly"] | None = Field(
        None, description="whether submounts come along, and whether read_only reaches them"
    )


class VolumeOptions(Model):
    """``volumes[].volume``."""

    nocopy: bool = Field(False, description="do not copy the image's files on first use")
    subpath: str | None = Field(None, description="directory within the volume")
    labels: dict[str, str] = Field({}, description="metadata")


class TmpfsOptions(Model):
    """``volumes[].tmpfs``."""

    size: Bytes | None = Field(None, ge=0, description="bytes; 0 or null is the kernel's default")
    mode: Mode | None = Field(None, description="mode of its root; default 1777")


class Mount(Model):
    """One entry of a service's ``volumes``."""

    type: Literal["bind", "volume", "tmpfs", "image", "npipe", "cluster"] = Field(
        description="kind of mount"
    )
    source: str | None = Field(
        None, description="absolute path, or key of a top-level volume; null is anonymous"
    )
    target: str = Field(description="absolute path in the container")
    read_only: bool = Field(False, description="refuse writes, recursively")
    bind: Bind | None = Field(None, description="details of type bind")
    volume: VolumeOptions | None = Field(None, description="details of type volume")
    tmpfs: TmpfsOptions | None = Field(None, description="details of type tmpfs")


class DriverOptions(Model):
    """``volumes.*.driver_opts`` of the local driver: mount(8)'s type, options and device."""

    type: str | None = Field(None, description="none, bind or tmpfs")
    o: str | None = Field(None, description="mount options, with commas")
    device: str | None = Field(None, description="path on the host")


class Volume(Model):
    """A top-level volume: a directory under gocker's state root."""

    name: str | None = Field(None, description="real name; default PROJECT_KEY")
    external: bool = Field(False, description="must exist, is never removed")
    labels: dict[str, str] = Field({}, description="metadata")
    driver_opts: DriverOptions | None = Field(None, description="a bind mount or a tmpfs")
