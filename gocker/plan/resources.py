"""A service's limits -> OCI resources: config-linux.md "Control groups"; compose-spec deploy.md."""

from __future__ import annotations

import os
import stat

from gocker.errors import PlanError
from gocker.plan import posture
from gocker.plan.model import Limits, Reservation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypedDict

    from gocker import oci
    from gocker.spec.model.service import Container as Service

    class _Number(TypedDict):
        major: int
        minor: int


_PERIOD_US = 100_000


def resources(service: Service, default_pids: int) -> oci.Resources:
    """Return the OCI resources; what neither the spec nor our default limits is absent.

    `default_pids`: most tasks of a service that does not say; 0 is no limit.
    """
    found: oci.Resources = {"devices": list(posture.DEVICE_RULES)}
    memory = _memory(service)
    if memory:
        found["memory"] = memory
    cpu = _cpu(service)
    if cpu:
        found["cpu"] = cpu
    pids = _pids(service, default_pids)
    if pids > 0:
        found["pids"] = {"limit": pids}
    if service.blkio_config is not None:
        found["blockIO"] = _block_io(service)
    return found


def optional(service: Service) -> tuple[str, ...]:
    """Return the limits that nobody asked for: our default for tasks."""
    return ("pids.limit",) if _pids(service, 0) == 0 else ()


def limits(found: oci.Resources) -> Limits:
    """Return the hard limits among the resources, for tables."""
    cpu = found.get("cpu", {})
    quota = cpu.get("quota", -1)
    memory = found.get("memory", {}).get("limit", -1)
    pids = found["pids"]["limit"] if "pids" in found else -1
    return Limits(
        memory=memory if memory > 0 else None,
        pids=pids if pids > 0 else None,
        cpus=quota / cpu.get("period", _PERIOD_US) if quota > 0 else None,
    )


def _deploy_limit(service: Service, name: str) -> float | int | None:
    deploy = getattr(service, "deploy", None)
    if deploy is None or deploy.resources is None or deploy.resources.limits is None:
        return None
    value: float | int | None = getattr(deploy.resources.limits, name)
    return value


def _memory(service: Service) -> oci.Memory:
    found: oci.Memory = {}
    limit = service.mem_limit or _deploy_limit(service, "memory")
    if limit:
        found["limit"] = int(limit)
        # Without a word about swap there is none: a job over its limit is killed, not slowed.
        found["swap"] = service.memswap_limit or int(limit)
    if service.mem_swappiness is not None and service.mem_swappiness >= 0:
        found["swappiness"] = service.mem_swappiness
    if service.oom_kill_disable:
        found["disableOOMKiller"] = True
    reservation = service.mem_reservation
    if reservation is None:
        reservation = _reserved_memory(service)
    if reservation:
        found["reservation"] = reservation
    return found


def reservation(service: Service) -> Reservation:
    """Return what the service reserves of the host."""
    deploy = getattr(service, "deploy", None)
    wanted = deploy.resources.reservations if deploy is not None and deploy.resources else None
    cpus = (wanted.cpus if wanted is not None else None) or 0.0
    memory = service.mem_reservation or _reserved_memory(service) or 0
    return Reservation(float(cpus), int(memory))


def _reserved_memory(service: Service) -> int | None:
    deploy = getattr(service, "deploy", None)
    if deploy is None or deploy.resources is None or deploy.resources.reservations is None:
        return None
    memory: int | None = deploy.resources.reservations.memory
    return memory


def _cpu(service: Service) -> oci.Cpu:
    found: oci.Cpu = {}
    cpus = service.cpus or _deploy_limit(service, "cpus")
    if cpus:
        found["period"] = service.cpu_period or _PERIOD_US
        found["quota"] = max(1000, round(cpus * found["period"]))  # the kernel's least quota
    else:
        if service.cpu_quota is not None:
            found["quota"] = service.cpu_quota
        if service.cpu_period:
            found["period"] = service.cpu_period
    if service.cpu_shares:
        found["shares"] = service.cpu_shares
    if service.cpu_rt_period:
        found["realtimePeriod"] = service.cpu_rt_period
    if service.cpu_rt_runtime:
        found["realtimeRuntime"] = service.cpu_rt_runtime
    if service.cpuset:
        found["cpus"] = service.cpuset
    return found


def _pids(service: Service, default: int) -> int:
    limit = service.pids_limit or None  # 0 is Compose's word for not set
    if limit is None:
        limit = int(_deploy_limit(service, "pids") or 0) or None
    if limit is None:
        return default
    return limit


def _block_io(service: Service) -> oci.BlockIO:
    config = service.blkio_config
    assert config is not None  # noqa: S101  # for the type checker: the caller has looked
    found: oci.BlockIO = {}
    if config.weight:
        found["weight"] = config.weight
    if config.weight_device:
        found["weightDevice"] = [_weight(item) for item in config.weight_device]
    if config.device_read_bps:
        found["throttleReadBpsDevice"] = _throttles(config.device_read_bps)
    if config.device_write_bps:
        found["throttleWriteBpsDevice"] = _throttles(config.device_write_bps)
    if config.device_read_iops:
        found["throttleReadIOPSDevice"] = _throttles(config.device_read_iops)
    if config.device_write_iops:
        found["throttleWriteIOPSDevice"] = _throttles(config.device_write_iops)
    return found


def _weight(item: Any) -> oci.WeightDevice:
    number = device_number(item.path)
    return {"major": number["major"], "minor": number["minor"], "weight": item.weight}


def _throttles(items: Iterable[Any]) -> list[oci.ThrottleDevice]:
    return [{**device_number(item.path), "rate": item.rate} for item in items]


def device_number(path: str) -> _Number:
    """Return major and minor of the device node at `path`.

    Raises:
        PlanError: if there is no device node.
    """
    try:
        info = os.stat(path)
    except OSError as error:
        raise PlanError(f"cannot find device {path!r}: {error.strerror}") from error
    if not (stat.S_ISBLK(info.st_mode) or stat.S_ISCHR(info.st_mode)):
        raise PlanError(f"{path!r} is not a device node")
    return {"major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev)}
