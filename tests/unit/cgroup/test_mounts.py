from __future__ import annotations

import pytest

from gocker.cgroup import mounts

# A Debian 12 with systemd.unified_cgroup_hierarchy=0: systemd's hybrid.
SYSTEMD_HYBRID = """\
24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 24 0:25 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,size=4096k,mode=755
29 28 0:26 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec shared:10 - cgroup2 cgroup2 rw,nsdelegate
31 28 0:27 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
35 28 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
36 28 0:32 / /sys/fs/cgroup/net_cls,net_prio rw shared:16 - cgroup cgroup rw,net_cls,net_prio
37 28 0:33 / /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory
38 28 0:34 / /sys/fs/cgroup/pids rw,nosuid shared:18 - cgroup cgroup rw,pids
"""
SYSTEMD_HYBRID_OWN = """\
9:pids:/user.slice/user-0.slice/session-1.scope
7:memory:/user.slice/user-0.slice/session-1.scope
5:net_cls,net_prio:/
3:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-0.slice/session-1.scope
0::/user.slice/user-0.slice/session-1.scope
"""
PURE_V2 = """\
25 29 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
30 25 0:30 / /sys/fs/bpf rw shared:5 - bpf bpf rw,mode=700
"""
# docker run on a v1 host: bind mounts of the container's own part, no cgroup namespace.
DOCKER_V1 = """\
900 880 0:60 / / rw - overlay overlay rw
910 905 0:65 / /sys/fs/cgroup rw,nosuid - tmpfs tmpfs rw,mode=755
911 910 0:27 /docker/4f2a /sys/fs/cgroup/systemd ro,nosuid - cgroup cgroup rw,xattr,name=systemd
912 910 0:33 /docker/4f2a /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory
913 910 0:31 /docker/4f2a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
"""
DOCKER_V1_OWN = """\
7:memory:/docker/4f2a
3:cpu,cpuacct:/docker/4f2a/inner
1:name=systemd:/docker/4f2a
"""


def test_systemd_hybrid_has_v1_controllers_and_a_v2_tree() -> None:
    layout = mounts.parse(SYSTEMD_HYBRID, SYSTEMD_HYBRID_OWN)
    assert layout.mode == "hybrid"
    assert layout.v2 is not None
    assert layout.v2.mount == "/sys/fs/cgroup/unified"


def test_the_own_cgroup_is_found_below_the_mount() -> None:
    layout = mounts.parse(SYSTEMD_HYBRID, SYSTEMD_HYBRID_OWN)
    expected = "/sys/fs/cgroup/memory/user.slice/user-0.slice/session-1.scope"
    assert layout.v1["memory"].directory == expected


def test_co_mounted_controllers_share_a_hierarchy() -> None:
    layout = mounts.parse(SYSTEMD_HYBRID, SYSTEMD_HYBRID_OWN)
    assert layout.v1["cpu"] is layout.v1["cpuacct"]
    assert layout.v1["cpu"].directory == "/sys/fs/cgroup/cpu,cpuacct/user.slice"


def test_a_named_hierarchy_keeps_its_prefix() -> None:
    layout = mounts.parse(SYSTEMD_HYBRID, SYSTEMD_HYBRID_OWN)
    assert layout.v1["name=systemd"].mount == "/sys/fs/cgroup/systemd"


def test_pure_v2() -> None:
    layout = mounts.parse(PURE_V2, "0::/system.slice/cron.service\n")
    assert (layout.mode, layout.v1) == ("v2", {})
    assert layout.v2 is not None
    assert layout.v2.directory == "/sys/fs/cgroup/system.slice/cron.service"


def test_a_lone_net_cls_hierarchy_does_not_make_a_v2_host_hybrid() -> None:
    vpn = PURE_V2 + "99 29 0:80 / /run/vpn rw - cgroup cgroup rw,net_cls\n"
    assert mounts.parse(vpn, "1:net_cls:/\n0::/\n").mode == "v2"


def test_v1_in_docker_subtracts_the_root_of_the_bind_mount() -> None:
    layout = mounts.parse(DOCKER_V1, DOCKER_V1_OWN)
    assert layout.mode == "v1"
    assert layout.v1["memory"].directory == "/sys/fs/cgroup/memory"
    assert layout.v1["cpu"].directory == "/sys/fs/cgroup/cpu,cpuacct/inner"


def test_a_mount_that_does_not_reach_the_own_cgroup_has_no_directory() -> None:
    layout = mounts.parse(DOCKER_V1, "7:memory:/elsewhere\n")
    assert layout.v1["memory"].directory is None


def test_a_mount_from_outside_of_the_cgroup_namespace_has_no_directory() -> None:
    # In a new cgroup namespace an old mount shows its root relative to the namespace's.
    outside = "31 23 0:28 /../.. /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert mounts.parse(outside, "4:memory:/\n").v1["memory"].directory is None


def test_a_mount_made_inside_of_the_cgroup_namespace_is_preferred() -> None:
    text = (
        "31 23 0:28 /../.. /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "44 23 0:28 / /run/memory rw - cgroup cgroup rw,memory\n"
    )
    assert mounts.parse(text, "4:memory:/\n").v1["memory"].directory == "/run/memory"


def test_a_writable_mount_is_preferred_to_a_read_only_one() -> None:
    text = (
        "31 23 0:28 / /a rw - cgroup2 cgroup2 ro\n"
        "32 23 0:28 / /b ro - cgroup2 cgroup2 rw\n"
        "33 23 0:28 / /c rw - cgroup2 cgroup2 rw\n"
    )
    v2 = mounts.parse(text, "0::/\n").v2
    assert v2 is not None
    assert v2.mount == "/c"


def test_a_mount_hidden_by_a_later_one_is_not_used() -> None:
    text = PURE_V2 + "77 25 0:90 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
    assert mounts.parse(text, "0::/\n").v2 is None


def test_octal_escapes_and_optional_fields() -> None:
    text = r"31 23 0:28 / /my\040cgroups/a\134b rw shared:1 master:2 - cgroup2 cgroup2 rw" + "\n"
    v2 = mounts.parse(text, "0::/x\n").v2
    assert v2 is not None
    assert v2.directory == "/my cgroups/a\\b/x"


def test_a_cgroup_name_may_hold_colons() -> None:
    v2 = mounts.parse(PURE_V2, "0::/a:b:c\n").v2
    assert v2 is not None
    assert v2.path == "/a:b:c"


def test_no_hierarchy_at_all() -> None:
    assert mounts.parse("27 1 254:0 / / rw - ext4 /dev/vda rw\n", "").mode is None


@pytest.mark.parametrize(
    ("root", "path", "directory"),
    [
        ("/", "/", "/m"),
        ("/", "/a/b", "/m/a/b"),
        ("/a", "/a", "/m"),
        ("/a", "/a/b", "/m/b"),
        ("/a", "/ab", None),
        ("/a", "/", None),
        ("/", "/../x", None),
    ],
)
def test_locate(root: str, path: str, directory: str | None) -> None:
    assert mounts.locate("/m", root, path) == directory
