from __future__ import annotations

from pathlib import Path

import pytest

from gocker import oci
from gocker.errors import HostError
from gocker.linux import capability, syscall_table
from gocker.plan import posture
from gocker.plan import seccomp as profile
from gocker.runtime import seccomp
from tests.support import bpf

NUMBERS = syscall_table.numbers("x86_64")
ALWAYS_ALLOWED = [NUMBERS[name] for name in profile.ALLOWED]


def answer(name: str, *args: int, caps: tuple[str, ...] = ()) -> int:
    program, _ = seccomp.program(posture.default_seccomp(caps, "x86_64"), "x86_64")
    return bpf.run(program, NUMBERS[name], args)[0]


# The filter


def test_the_profile_uses_no_key_that_gocker_refuses() -> None:
    config = {"linux": {"seccomp": posture.default_seccomp((), "x86_64")}}
    assert oci.unsupported(config) == []


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_only_the_native_architecture_is_listed(machine: str) -> None:
    listed = posture.default_seccomp((), machine).get("architectures")
    assert listed == [syscall_table.NATIVE_ARCH[machine]]


def test_a_machine_without_a_profile_is_refused() -> None:
    with pytest.raises(HostError, match="riscv64"):
        posture.default_seccomp((), "riscv64")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_default_program_is_small(machine: str) -> None:
    program, _ = seccomp.program(posture.default_seccomp((), machine), machine)
    bpf.check(program)
    assert len(program) // 8 <= 150


def test_an_allowed_call_costs_few_instructions() -> None:
    program, _ = seccomp.program(posture.default_seccomp((), "x86_64"), "x86_64")
    assert max(bpf.run(program, number)[1] for number in ALWAYS_ALLOWED) <= 12


def test_every_name_is_a_system_call_and_is_decided_once() -> None:
    names = [*profile.ALLOWED, *(name for _, calls in profile.GUARDED for name in calls.split())]
    assert len(set(names)) == len(names)
    assert set(names) <= set(NUMBERS)


def test_every_call_of_linux_6_18_has_its_answer() -> None:
    # Removed from Linux, or never there; and clone3, and three that are not worth a place.
    unknown = {name for name in NUMBERS if answer(name, 0xFFFF, 0xFFFF) == bpf.errno(38)}
    assert unknown == {
        "_sysctl", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old",
        "get_kernel_syms", "get_thread_area", "getpmsg", "putpmsg", "query_module", "security",
        "set_thread_area", "sysfs", "tuxcall", "ustat", "vserver",
        "clone3", "cachestat", "file_getattr", "file_setattr",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("caps", "name"),
    [(caps, name) for caps, names in profile.GUARDED for name in names.split()],
)
def test_guarded_calls_open_with_any_of_their_capabilities(
    caps: tuple[str, ...], name: str
) -> None:
    others = tuple(set(posture.ALL_CAPS) - set(caps))
    assert answer(name) == answer(name, caps=others) == bpf.errno(1)
    assert [answer(name, caps=(cap,)) for cap in caps] == [bpf.ALLOW] * len(caps)


def test_clone_may_share_anything_and_make_no_namespace() -> None:
    assert answer("clone", 0x01FDFFFF & ~0x20000) == bpf.ALLOW
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert answer("clone", 1 << bit) == bpf.errno(1)
    assert answer("clone3") == bpf.errno(38)
    admin = ("CAP_SYS_ADMIN",)
    assert answer("clone", 1 << 28, caps=admin) == answer("clone3", caps=admin) == bpf.ALLOW


def test_socket_families() -> None:
    allowed = [family for family in range(64) if answer("socket", family, 1) == bpf.ALLOW]
    assert allowed == [1, 2, 10, 16]
    protocols = [n for n in range(64) if answer("socket", 16, 3, n) == bpf.ALLOW]
    assert protocols == [0]


# Capabilities


def test_numbers_are_the_kernels() -> None:
    assert posture.CAPABILITY_NUMBERS == capability.NUMBERS
    assert len(posture.ALL_CAPS) == 41
    header = Path("/usr/include/linux/capability.h")
    if header.exists():
        lines = [line.split() for line in header.read_text().splitlines()]
        numbers = {w[1]: w[2] for w in lines if len(w) == 3 and w[:1] == ["#define"]}
        assert all(numbers[name] == str(n) for name, n in posture.CAPABILITY_NUMBERS.items())


def sets(
    add: tuple[str, ...] = (), drop: tuple[str, ...] = (), *, root: bool = True
) -> oci.Capabilities:
    return posture.capabilities(add, drop, uid_is_root=root)


def test_root_has_nine_capabilities_and_passes_none_on() -> None:
    result = sets()
    assert len(result["bounding"]) == 9
    assert set(result["bounding"]) == set(posture.DEFAULT_CAPS)
    assert result["effective"] == result["permitted"] == result["bounding"]
    assert result["inheritable"] == result["ambient"] == []


def test_another_user_has_none() -> None:
    result = sets(root=False)
    assert len(result["bounding"]) == 9
    for name in ("effective", "permitted", "inheritable", "ambient"):
        assert result[name] == []  # type: ignore[literal-required]  # the four names above


def test_another_user_gets_what_is_added_through_the_ambient_set() -> None:
    result = sets(("net_bind_service", "SYS_NICE"), root=False)
    assert result["ambient"] == ["CAP_NET_BIND_SERVICE", "CAP_SYS_NICE"]
    assert result["effective"] == result["permitted"] == result["inheritable"] == result["ambient"]


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        (("NET_RAW",), ("ALL",), {"CAP_NET_RAW"}),
        ((), ("all",), set()),
        (("ALL",), (), set(posture.ALL_CAPS)),
        (("ALL",), ("CAP_SYS_ADMIN",), set(posture.ALL_CAPS) - {"CAP_SYS_ADMIN"}),
        ((), ("chown",), set(posture.DEFAULT_CAPS) - {"CAP_CHOWN"}),
        (("CHOWN",), ("CHOWN",), set(posture.DEFAULT_CAPS)),
        (("ALL",), ("CHOWN", "KILL"), set(posture.ALL_CAPS) - {"CAP_CHOWN", "CAP_KILL"}),
    ],
)
def test_cap_add_and_cap_drop(
    add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]
) -> None:
    assert set(sets(add, drop)["bounding"]) == expected


def test_a_misspelt_capability_has_a_suggestion() -> None:
    with pytest.raises(ValueError, match="unknown capability 'NET_ADMN', did you mean 'CAP_NET_A"):
        sets(("NET_ADMN",))


def test_adding_and_dropping_everything_is_a_contradiction() -> None:
    with pytest.raises(ValueError, match="both name 'ALL'"):
        sets(("ALL",), ("ALL",))


# Mounts, devices, limits


def test_default_mounts_are_oci_mounts_in_an_order_that_works() -> None:
    mounts = posture.default_mounts(1 << 20)
    assert oci.unsupported({"mounts": mounts}) == []
    places = [mount["destination"] for mount in mounts]
    assert places.index("/dev") < places.index("/dev/shm")
    assert places.index("/sys") < places.index("/sys/fs/cgroup")
    options = {mount["destination"]: mount.get("options", []) for mount in mounts}
    assert "size=1048576" in options["/dev/shm"]
    for place in ("/sys", "/sys/fs/cgroup"):
        assert "ro" in options[place]
    assert all("nosuid" in given for given in options.values())


def test_paths_that_tell_of_the_host_are_covered() -> None:
    assert len(set(posture.MASKED_PATHS)) == len(posture.MASKED_PATHS)
    assert all(path.startswith(("/proc/", "/sys/")) for path in posture.MASKED_PATHS)
    assert {"/proc/kcore", "/proc/keys", "/proc/kallsyms", "/sys/firmware"} <= set(
        posture.MASKED_PATHS
    )
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(posture.READONLY_PATHS)
    assert posture.thermal_throttle_paths(2)[1].endswith("/cpu1/thermal_throttle")


def test_devices_are_denied_but_for_a_few() -> None:
    first, *allowed = posture.DEVICE_RULES
    assert first == {"allow": False, "access": "rwm"}
    pairs = {(rule.get("major"), rule.get("minor")) for rule in allowed}
    memory = {(1, minor) for minor in (3, 5, 7, 8, 9)}
    assert pairs == memory | {(5, 0), (5, 1), (5, 2), (136, None)}


@pytest.mark.parametrize(
    ("hard", "nofile"), [(1 << 20, 65536), (20000, 20000), (-1, 65536)]
)  # fmt: skip
def test_rlimits_stay_within_the_hosts(hard: int, nofile: int) -> None:
    limits = posture.default_rlimits(
        {"RLIMIT_NOFILE": hard, "RLIMIT_CORE": -1, "RLIMIT_MEMLOCK": 65536}
    )
    found = {limit["type"]: (limit["soft"], limit["hard"]) for limit in limits}
    assert found == {
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_MEMLOCK": (65536, 65536),
        "RLIMIT_NOFILE": (nofile, nofile),
    }
