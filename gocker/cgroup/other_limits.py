"""OCI resources of the small controllers: huge pages, network, RDMA, and settings of v1 alone.

Source: config-linux.md "Huge page limits", "Network", "RDMA"; cgroup-v1/{hugetlb,net_cls,
net_prio,rdma}.rst; cgroup-v2.rst "HugeTLB", "RDMA".
"""

from __future__ import annotations

from gocker.cgroup import values
from gocker.cgroup.limits import Setting
from gocker.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_SHIFT = {"K": 10, "M": 20, "G": 30}


def huge_pages(limits: Any, file: str) -> list[Setting]:
    """Return the writes of ``hugepageLimits``.

    Args:
        limits: OCI's list.
        file: the name with ``{}`` for the size, ``hugetlb.{}.max`` on v2.

    Raises:
        ConfigError: a size that is none, or twice.
    """
    found: list[Setting] = []
    for entry in limits or ():
        size, limit = entry["pageSize"], entry["limit"]
        page = _page_bytes(size)
        name = f"hugepageLimits {size}"
        if page is None or any(name == item.limit for item in found):
            raise ConfigError(
                f"linux.resources.hugepageLimits: pageSize {size!r}", hint="once each: 2MB, 1GB"
            )
        value = "max" if file.endswith("max") and limit >= 1 << 63 else str(limit)
        expected = -1 if value == "max" else limit // page * page
        # Whole pages of this size; the kernel rounds down.
        found.append(Setting("hugetlb", file.format(size), value, name, limit, expected,
                             values.number))  # fmt: skip
    return found


def _page_bytes(size: str) -> int | None:
    """Return the bytes of ``2MB`` or ``1GB``; None if it is no such size.

    Without `re`, whose import would take a tenth of a container's start.
    """
    digits, unit = size[:-2], size[-2:]
    shift = _SHIFT.get(unit[:1]) if unit[1:] == "B" else None
    if shift is None or not (digits.isascii() and digits.isdecimal()) or digits[0] == "0":
        return None
    return int(digits) << shift


def network_v1(network: Mapping[str, Any]) -> list[Setting]:
    """Return the writes of ``network``: net_cls.classid, net_prio.ifpriomap."""
    found: list[Setting] = []
    class_id = network.get("classID")
    if class_id:
        found.append(Setting("net_cls", "net_cls.classid", str(class_id), "network.classID",
                             class_id, class_id, values.number))  # fmt: skip
    for entry in network.get("priorities") or ():
        name, priority = entry["name"], entry["priority"]
        found.append(Setting("net_prio", "net_prio.ifpriomap", f"{name} {priority}",
                             f"network.priorities {name}", priority, priority,
                             values.flat_key(name)))  # fmt: skip
    return found


def network_v2(network: Mapping[str, Any]) -> list[Setting]:
    """Refuse ``network`` limits, which cgroup v2 does not have."""
    for key in ("classID", "priorities"):
        if network.get(key):
            raise ConfigError(
                f"linux.resources.network.{key} does not exist in cgroup v2",
                hint="classify by the cgroup's path: nft socket cgroupv2",
            )
    return []


def rdma(devices: Mapping[str, Any]) -> list[Setting]:
    """Return the writes of ``rdma``; the same on v1 and v2."""
    found: list[Setting] = []
    for device, limits in devices.items():
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            value = limits.get(key)
            if value is not None:
                found.append(Setting("rdma", "rdma.max", f"{device} {word}={value}",
                                     f"rdma.{key} {device}", value, value,
                                     values.device_line(device, word)))  # fmt: skip
    return found


def hierarchy(memory: Mapping[str, Any]) -> None:
    """Refuse ``useHierarchy: false``: no kernel since 5.11 counts a cgroup without its children.

    Raises:
        ConfigError: for it. ``true`` is what is done anyway.
    """
    if memory.get("useHierarchy") is False:
        raise ConfigError(
            "linux.resources.memory.useHierarchy: false is not possible", hint="remove it"
        )
