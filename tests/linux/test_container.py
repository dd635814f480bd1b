"""What a program sees and may do inside a container, for each kind of root file system."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gocker.plan import posture
from tests.support.command import Gocker, Result

pytestmark = pytest.mark.root

NINE_CAPS = "00000000000005fb"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WRITTEN = "gocker-test-written"
OBSERVERS: dict[str, list[str]] = {
    "pids": ["ls", "-1", "/proc"],
    "mountinfo": ["cat", "/proc/self/mountinfo"],
    "status": ["cat", "/proc/self/status"],
    "fds": ["sh", "-c", "ls -1 /proc/$$/fd; :"],
    "hostname": ["cat", "/proc/sys/kernel/hostname"],
    "write": ["sh", "-c", f"echo x >/{WRITTEN} && echo x >/etc/{WRITTEN} && cat /{WRITTEN}"],
    "dev": ["ls", "-1", "/dev"],
    "net": ["sh", "-c", "ls -1 /sys/class/net; cat /sys/class/net/lo/flags"],
    "cgroup": ["cat", "/proc/self/cgroup"],
    "environ": ["cat", "/proc/self/environ"],
}


@pytest.fixture(scope="module", params=["host", "bins", "rootfs"])
def seen(request: pytest.FixtureRequest, rootfs: Path) -> Iterator[Result]:
    """Return what was observed in containers of one kind of image: one job per observation."""
    images = {"host": "host:/", "bins": "bins:sh,ls,cat", "rootfs": f"rootfs:{rootfs}"}
    gocker = Gocker(image=images[request.param])
    try:
        services = {name: {"command": argv} for name, argv in OBSERVERS.items()}
        yield gocker.up({"services": services})
        gocker.check()
    finally:
        gocker.close()


def status_of(text: str) -> dict[str, str]:
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.split("\n"))
    }


def mounts_of(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return file system type and per-mount options by mount point; the last mount wins."""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        found[fields[4]] = (right.split(" ")[0], set(fields[5].split(",")))
    return found


def test_every_observer_ran(seen: Result) -> None:
    assert {name: seen.verdict(name) for name in OBSERVERS} == dict.fromkeys(OBSERVERS, "ok")
    assert seen.code == 0


def test_only_its_own_pid_1_is_in_proc(seen: Result) -> None:
    assert [name for name in seen.log("pids").split() if name.isdigit()] == ["1"]


def test_root_is_an_overlay_with_proc_and_a_tmpfs_on_dev(seen: Result) -> None:
    mounts = mounts_of(seen.log("mountinfo"))
    assert {path: mounts[path][0] for path in ("/", "/proc", "/dev", "/sys")} == {
        "/": "overlay", "/proc": "proc", "/dev": "tmpfs", "/sys": "sysfs",
    }  # fmt: skip
    assert {"nosuid", "nodev", "noexec"} <= mounts["/proc"][1]


def test_no_mount_of_the_host_is_there(seen: Result) -> None:
    allowed = {"overlay", "proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2"}
    mounts = mounts_of(seen.log("mountinfo"))
    assert {fstype for fstype, _ in mounts.values()} <= allowed
    own = re.compile(r"/|/(proc|sys|dev)(/.*)?|/etc/(hosts|hostname|resolv\.conf)")
    assert [path for path in mounts if not own.fullmatch(path)] == []


def test_no_path_of_the_host_is_in_mountinfo(seen: Result) -> None:
    text = seen.log("mountinfo")
    assert seen.run is not None
    words = (str(seen.run.parents[1]), "gocker", "/var", "/tmp", seen.run_id, "process_api")
    assert [word for word in words if word in text] == []


def test_propagation_is_private(seen: Result) -> None:
    assert "shared:" not in seen.log("mountinfo")
    assert "master:" not in seen.log("mountinfo")


def test_hostname_is_the_service(seen: Result) -> None:
    assert seen.log("hostname") == "hostname\n"


def test_capability_masks(seen: Result) -> None:
    status = status_of(seen.log("status"))
    assert {name: status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": "0" * 16, "CapPrm": NINE_CAPS, "CapEff": NINE_CAPS, "CapBnd": NINE_CAPS,
        "CapAmb": "0" * 16,
    }  # fmt: skip


def test_no_new_privs_and_seccomp_are_on(seen: Result) -> None:
    status = status_of(seen.log("status"))
    assert (status["NoNewPrivs"], status["Seccomp"], status["Seccomp_filters"]) == ("1", "2", "1")


def test_no_signal_is_ignored_or_blocked(seen: Result) -> None:
    status = status_of(seen.log("status"))
    assert {status[name] for name in ("SigIgn", "SigBlk", "SigPnd", "ShdPnd")} == {"0" * 16}


def test_exactly_three_descriptors_are_open(seen: Result) -> None:
    assert seen.log("fds").split() == ["0", "1", "2"]


def test_a_write_does_not_reach_the_host(seen: Result, rootfs: Path) -> None:
    assert seen.log("write") == "x\n"
    assert seen.run is not None
    tops = [Path("/"), rootfs, *seen.run.parents[1].glob("images/bins/*")]
    found = [top / path for top in tops for path in (WRITTEN, f"etc/{WRITTEN}")]
    assert [path for path in found if path.exists()] == []


def test_dev_has_the_default_devices_only(seen: Result) -> None:
    assert sorted(seen.log("dev").split()) == [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ]  # fmt: skip


def test_lo_is_up_and_the_only_interface(seen: Result) -> None:
    assert seen.log("net").split() == ["lo", "0x9"]  # IFF_UP | IFF_LOOPBACK


def test_cgroup_paths_end_at_the_container(seen: Result) -> None:
    entered = {"memory", "pids", "cpuacct", "freezer", "devices"}
    paths = {line.split(":")[1]: line.split(":")[2] for line in seen.log("cgroup").splitlines()}
    own = {name: path for name, path in paths.items() if set(name.split(",")) & entered}
    assert set(own.values() or {paths[""]}) == {"/"}
    assert "gocker" not in seen.log("cgroup")


def test_environment_is_the_declared_set(seen: Result) -> None:
    assert sorted(seen.log("environ").strip("\0").split("\0")) == [
        "HOME=/root", "HOSTNAME=environ", f"PATH={PATH}",
    ]  # fmt: skip


# -- what gocker itself was started with ---------------------------------------------------------


def test_nothing_of_the_callers_process_state_gets_in(gocker: Gocker) -> None:
    def enter() -> None:
        gocker.nest.enter()
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGALRM, signal.SIGQUIT})
        os.umask(0o077)

    fds = [os.open("/", os.O_RDONLY) for _ in range(40)]
    try:
        result = gocker.up(
            {"services": {
                "status": {"command": ["cat", "/proc/self/status"]},
                "fds": {"command": ["sh", "-c", "ls -1 /proc/$$/fd; :"]},
                "environ": {"command": ["env"], "environment": {"DECLARED": "yes"}},
            }},
            enter=enter, pass_fds=fds, environ={"SECRET_OF_THE_HOST": "x", "LD_PRELOAD_X": "y"},
        )  # fmt: skip
    finally:
        for fd in fds:
            os.close(fd)
    status = status_of(result.log("status"))
    assert (status["SigIgn"], status["SigBlk"], status["Umask"]) == ("0" * 16, "0" * 16, "0022")
    assert result.log("fds").split() == ["0", "1", "2"]
    assert sorted(result.log("environ").splitlines()) == [
        "DECLARED=yes", "HOME=/root", "HOSTNAME=environ", f"PATH={PATH}",
    ]  # fmt: skip


def test_a_caller_that_ignores_sigchld_changes_nothing(gocker: Gocker) -> None:
    def enter() -> None:
        gocker.nest.enter()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    result = gocker.up({"services": {"job": {"command": ["sh", "-c", "exit 7"]}}}, enter=enter)
    assert (result.code, result.event("container.exited")["process.exit.code"]) == (1, 7)


# -- hidden, masked, read-only -------------------------------------------------------------------


def test_host_image_hides_what_is_not_its_business(gocker: Gocker) -> None:
    script = "cd /; ls -A root home run tmp var/tmp; stat -c '%n %a' root tmp var/tmp"
    result = gocker.sh(script, image="host:/")
    assert result.log() == (
        "home:\n\nroot:\n\nrun:\n\ntmp:\n\nvar/tmp:\nroot 700\ntmp 1777\nvar/tmp 1777\n"
    )


def test_host_image_hides_gockers_state(rootfs: Path) -> None:
    gocker = Gocker(parent="/srv")
    try:
        gocker.data.mkdir(mode=0o700)
        gocker.live.mkdir(mode=0o700)
        result = gocker.sh(f"cd {gocker.root}; ls; ls -A data live", image="host:/")
        assert result.log() == "data\nlive\nspec.yaml\ndata:\n\nlive:\n"
        gocker.check()
    finally:
        gocker.close()


def test_masked_paths_are_empty(gocker: Gocker) -> None:
    paths = [path for path in posture.MASKED_PATHS if os.path.exists(path)]
    script = """for path; do
        if [ -d $path ]; then ls -A $path; else cat $path; fi
    done | wc -c"""
    result = gocker.job("sh", "-c", script, "sh", *paths)
    assert result.log() == "0\n"
    assert len(paths) >= 10


def test_kernel_settings_cannot_be_written(gocker: Gocker) -> None:
    files = [
        "/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness", "/proc/irq/default_smp_affinity",
        "/proc/sysrq-trigger", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ]  # fmt: skip
    files = [path for path in files if os.path.exists(path)]
    script = (
        "exec 2>&1; for path; do echo 1 >$path; done; "
        "mkdir /sys/fs/cgroup/sub /sys/kernel/sub; echo end"
    )
    result = gocker.job("sh", "-c", script, "sh", *files)
    *refusals, last = result.log().splitlines()
    assert last == "end"
    assert len(refusals) == len(files) + 2
    assert {line.rpartition(": ")[2] for line in refusals} == {"Read-only file system"}


def test_cgroup_mounts_show_the_containers_own(gocker: Gocker) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; \
        wc -l </sys/fs/cgroup/pids/tasks"
    result = gocker.sh(script, mem_limit="64m", pids_limit=77)
    # The shell executes its last command in its own place: one task.
    assert result.log().split() == [str(64 << 20), "77", "1"]


def test_default_devices_open_and_no_other_can_be_made(gocker: Gocker) -> None:
    script = """
        for name in null zero full random urandom; do
            head -c 1 /dev/$name >/dev/null || echo $name
        done
        echo x >/dev/full
        cat </dev/tty
        mknod /m c 1 1
        mknod /dev/kmsg c 1 11"""
    result = gocker.sh(script)
    assert [line.rpartition(": ")[2] for line in result.log().splitlines()] == [
        "No space left on device", "No such device or address",
        "Operation not permitted", "Operation not permitted",
    ]  # fmt: skip


def test_with_the_capability_mknod_is_still_limited_to_the_default_devices(gocker: Gocker) -> None:
    script = """
        mknod /dev/mem c 1 1
        mknod /dev/sda b 8 0
        mknod /null c 1 3 && cat /null
        mknod /dev/null2 c 1 3 && cat /dev/null2 && echo fine"""
    result = gocker.sh(script, cap_add=["MKNOD"])
    assert [line.rpartition(": ")[2] for line in result.log().splitlines()] == [
        "Operation not permitted", "Operation not permitted", "Permission denied", "fine",
    ]  # fmt: skip


def test_lo_carries_packets(gocker: Gocker) -> None:
    program = """if True:
        import socket
        server = socket.create_server(("127.0.0.1", 80))
        socket.create_connection(("127.0.0.1", 80)).sendall(b"through lo")
        print(server.accept()[0].recv(99).decode(), flush=True)
        socket.create_connection(("192.0.2.1", 80))"""
    result = gocker.job("/usr/bin/python3", "-c", program, image="host:/")
    assert result.log().startswith("through lo\n")
    assert "Network is unreachable" in result.log()


# -- users, limits, environment ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "extra", "uid", "gid", "groups"),
    [
        ("alice", [], "1234", "2345", ["29"]),
        ("1234", [], "1234", "2345", ["29"]),
        ("alice:extra", [], "1234", "77", []),
        ("4321:99", [], "4321", "99", []),
        ("4321", [], "4321", "0", []),
        ("root:77", ["29", "staff"], "0", "77", ["29", "2345"]),
    ],
)
def test_users_and_groups_are_the_containers(
    gocker: Gocker, user: str, extra: list[str], uid: str, gid: str, groups: list[str]
) -> None:
    result = gocker.job("cat", "/proc/self/status", user=user, group_add=extra)
    status = status_of(result.log())
    assert status["Uid"].split() == [uid] * 4
    assert status["Gid"].split() == [gid] * 4
    assert status["Groups"].split() == groups


def test_a_user_other_than_root_has_no_capabilities(gocker: Gocker) -> None:
    result = gocker.job("grep", "^Cap", "/proc/self/status", user="alice")
    masks = status_of(result.log())
    assert {masks[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert masks["CapBnd"] == NINE_CAPS


def test_an_added_capability_reaches_a_user_other_than_root(gocker: Gocker) -> None:
    result = gocker.job(
        "grep", "^Cap", "/proc/self/status", user="alice", cap_add=["NET_ADMIN"], cap_drop=["ALL"]
    )
    masks = status_of(result.log())
    assert set(masks.values()) - {""} == {"0000000000001000"}


def test_home_is_the_users(gocker: Gocker) -> None:
    assert gocker.sh("echo $HOME", user="alice").log() == "/home/alice\n"


def test_umask_and_rlimits(gocker: Gocker) -> None:
    result = gocker.up(
        {"services": {
            "default": {"command": ["sh", "-c", "umask; cat /proc/self/limits"]},
            "set": {
                "command": ["cat", "/proc/self/limits"],
                "ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": 4096},
            },
        }}
    )  # fmt: skip
    text = result.log("default")
    hard = min(65536, int(_limit(Path("/proc/self/limits").read_text(), "Max open files")[1]))
    assert text.startswith("0022\n")
    assert _limit(text, "Max core file size") == ["0", "0"]
    assert _limit(text, "Max open files") == [str(hard), str(hard)]
    assert _limit(result.log("set"), "Max open files") == ["100", "200"]
    assert _limit(result.log("set"), "Max core file size") == ["4096", "4096"]


def _limit(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(name))
    return line.removeprefix(name).split()[:2]


def test_oom_score_makes_the_container_die_before_gocker(gocker: Gocker) -> None:
    assert gocker.job("cat", "/proc/self/oom_score_adj").log() == "500\n"


def test_working_dir_is_made_for_the_user(gocker: Gocker) -> None:
    result = gocker.sh("pwd; stat -c '%u %a' .; touch f", working_dir="/made/deep", user="1234")
    assert result.log() == "/made/deep\n1234 755\n"
    assert result.code == 0


# -- file systems --------------------------------------------------------------------------------


def test_read_only_root_refuses_writes_but_not_to_a_tmpfs(gocker: Gocker) -> None:
    result = gocker.sh(
        "exec 2>&1; touch /x; touch /etc/x; touch /t/x; grep ' /t ' /proc/self/mountinfo; "
        "echo >/etc/hosts",
        read_only=True, tmpfs=["/t:size=64k,mode=0700"],
    )  # fmt: skip
    first, second, tmpfs, *rest = result.log().splitlines()
    assert {line.rpartition(": ")[2] for line in (first, second)} == {"Read-only file system"}
    assert "size=64k,mode=700" in tmpfs
    assert "nosuid,nodev,noexec" in tmpfs
    assert [line.rpartition(": ")[2] for line in rest] == ["Read-only file system"]


def test_a_tmpfs_keeps_its_size(gocker: Gocker) -> None:
    result = gocker.sh("head -c 100000 /dev/zero >/t/x; wc -c </t/x", tmpfs=["/t:size=64k"])
    assert result.log().split()[-1] == "65536"


def test_shm_size(gocker: Gocker) -> None:
    result = gocker.sh("df -k /dev/shm | tail -1", shm_size="3m")
    assert result.log().split()[1] == "3072"


def bind(source: Path, target: str, **more: object) -> dict[str, object]:
    return {"type": "bind", "source": str(source), "target": target, **more}


def test_bind_mounts_read_write_and_read_only(gocker: Gocker) -> None:
    for name in ("rw", "ro"):
        (gocker.root / name).mkdir()
        (gocker.root / name / "given").write_text(name)
    result = gocker.sh(
        "cat /rw/given /ro/given; echo made >/rw/made; echo made >/ro/made",
        volumes=[bind(gocker.root / "rw", "/rw"), bind(gocker.root / "ro", "/ro", read_only=True)],
    )
    assert result.log().startswith("rwro")
    assert result.log().endswith("/ro/made: Read-only file system\n")
    assert (gocker.root / "rw/made").read_text() == "made\n"
    assert not (gocker.root / "ro/made").exists()


def test_a_read_only_bind_is_read_only_in_its_submounts(gocker: Gocker) -> None:
    source = gocker.root / "tree"
    (source / "sub").mkdir(parents=True)
    # A mount namespace of gocker's own has the submount; the host never sees it.
    nested = f'mount -t tmpfs nested {source}/sub && echo below >{source}/sub/f && exec "$@"'
    wrapper = ["unshare", "-m", "sh", "-c", nested, "sh"]
    spec = {"services": {"job": {
        "command": ["sh", "-c", "cat /v/sub/f; touch /v/sub/g; touch /v/g; touch /w/sub/g"],
        "volumes": [bind(source, "/v", read_only=True), bind(source, "/w")],
    }}}  # fmt: skip
    result = gocker.up(spec, wrapper=wrapper)
    first, *refusals = result.log().splitlines()
    assert first == "below"
    assert [line.rpartition(": ")[2] for line in refusals] == ["Read-only file system"] * 2


def test_a_named_volume_is_kept_and_an_anonymous_one_is_not(gocker: Gocker) -> None:
    spec = {
        "services": {"job": {
            "command": ["sh", "-c", "cat /n/f; ls -A /a; echo kept >/n/f; echo x >/a/f"],
            "volumes": [
                {"type": "volume", "source": "vol", "target": "/n"},
                {"type": "volume", "target": "/a"},
            ],
        }},
        "volumes": {"vol": {}},
    }  # fmt: skip
    first, second = gocker.up(spec), gocker.up(spec)
    assert first.event("volume.created")["volume"] == "test_vol"
    assert second.log() == "kept\n"
    assert second.events("volume.created") == []
    assert (gocker.data / "volumes/test_vol/f").read_text() == "kept\n"


def test_a_mount_over_a_link_stays_in_the_container(gocker: Gocker, tmp_path: Path) -> None:
    """CVE-2019-16884: the image's own link must not lead a mount to the host."""
    source = gocker.root / "source"
    source.mkdir()
    target = gocker.root / "outside"
    target.mkdir()
    image = gocker.root / "image"
    for name in ("bin", "proc", "dev", "sys"):
        (image / name).mkdir(parents=True)
    (image / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (image / "bin/busybox").chmod(0o755)
    (image / "v").symlink_to(target)
    (image / "dangling").symlink_to("../../etc/made")
    result = gocker.job(
        "/bin/busybox", "awk", "/test-/ {print $5}", "/proc/self/mountinfo",
        image=f"rootfs:{image}", volumes=[bind(source, "/v"), bind(source, "/dangling")],
    )  # fmt: skip
    # Both links name something that is not there in the container; it was made inside.
    assert sorted(result.log().split()) == ["/etc/made", str(target)], result.err
    assert list(target.iterdir()) == []
    assert not Path("/etc/made").exists()


def test_secrets_and_configs_are_files_of_the_given_owner_and_mode(gocker: Gocker) -> None:
    value = "correct-horse-battery"
    spec = {
        "services": {"job": {
            "command": ["sh", "-c", """
                exec 2>&1  # one pipe: two have no order between them
                cat /run/secrets/s /c
                stat -c '%u %g %a' /run/secrets/s /c
                echo x >/run/secrets/s
                grep -c . /run/secrets/s"""],
            "secrets": [{"source": "s", "uid": "1234", "gid": "29", "mode": "0440"}],
            "configs": [{"source": "c", "target": "/c"}],
        }},
        "secrets": {"s": {"environment": "TOKEN"}},
        "configs": {"c": {"content": "from the spec\n"}},
    }  # fmt: skip
    result = gocker.up(spec, environ={"TOKEN": f"{value}\n"})
    assert result.log().splitlines() == [
        value, "from the spec", "1234 29 440", "0 0 444",
        "sh: can't create /run/secrets/s: Read-only file system", "1",
    ]  # fmt: skip
    # The log of the container has it, as the container printed it; no other file may.
    assert result.run is not None
    log = result.run / "logs/job.log"
    files = [path for path in gocker.root.rglob("*") if path.is_file() and path != log]
    assert [path for path in files if value.encode() in path.read_bytes()] == []


def test_hosts_hostname_and_resolv_conf(gocker: Gocker) -> None:
    result = gocker.sh(
        "cat /etc/hosts /etc/hostname /etc/resolv.conf; hostname; echo more >>/etc/hosts",
        hostname="box", domainname="example.org",
        extra_hosts={"db": ["192.0.2.7"]}, dns=["192.0.2.53"], dns_search=["example.org"],
    )  # fmt: skip
    lines = result.log().splitlines()
    assert "192.0.2.7\tdb" in lines
    assert "127.0.1.1\tbox" in lines
    assert lines[-4:] == ["box", "nameserver 192.0.2.53", "search example.org", "box"]
    assert result.code == 0


def test_sysctls_hold_in_the_container_only(gocker: Gocker) -> None:
    name = "/proc/sys/net/ipv4/ip_default_ttl"
    before = Path(name).read_text()
    result = gocker.job("cat", name, sysctls={"net.ipv4.ip_default_ttl": "77"})
    assert result.log() == "77\n"
    assert Path(name).read_text() == before != "77\n"


# -- init ----------------------------------------------------------------------------------------


def test_init_reaps_orphans_and_passes_the_exit_code(gocker: Gocker) -> None:
    script = """
        (sleep 0 & echo $! >/orphan); read orphan </orphan
        while [ -d /proc/$orphan ]; do :; done
        cat /proc/1/comm; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/1/status
        exit 9"""
    result = gocker.sh(script, init=True)
    assert result.event("container.exited")["process.exit.code"] == 9
    # CAP_KILL and nothing else.
    assert result.log().split() == [
        "gocker-init", "CapEff:", "0000000000000020", "NoNewPrivs:", "1", "Seccomp:", "2",
    ]  # fmt: skip


def test_init_forwards_the_stop_signal(gocker: Gocker) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    running = gocker.start({"services": {"job": {"command": ["sh", "-c", script], "init": True}}})
    running.wait_for_output("ready")
    running.send(signal.SIGTERM)
    result = running.finish()
    assert result.log() == "ready\ngot it\n"
    assert result.event("container.exited")["process.exit.code"] == 3
    assert result.code == 143


# -- what cannot be started ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"command": ["nosuchprogram"]}, ["no program 'nosuchprogram'"]),
        ({"command": ["/etc/passwd"]}, ["cannot execute '/etc/passwd'", "Permission denied"]),
        ({"command": ["/etc"]}, ["cannot execute '/etc'"]),
        ({"command": ["id"], "user": "bob"}, ["no user 'bob'"]),
        ({"command": ["id"], "user": "alice:nogroup"}, ["no group 'nogroup'"]),
        ({"command": ["id"], "working_dir": "/etc/passwd"}, ["'/etc/passwd'", "Not a directory"]),
    ],
    ids=["not-found", "not-executable", "directory", "user", "group", "working-dir"],
)
def test_what_cannot_start_says_why(
    gocker: Gocker, service: dict[str, object], words: list[str]
) -> None:
    result = gocker.up({"services": {"job": service}})
    assert (result.code, result.verdict()) == (1, "start_failed")
    error = result.event("container.failed")["error"]
    assert [word for word in words if word not in error["message"]] == []
    assert result.events("container.started") == []


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("#!/no/such/interpreter\n", "the interpreter it names is missing"),
        ("#!/proc/self/exe\n", "a link into /proc"),
        ("just text\n", "neither a program for this machine nor a script"),
    ],
    ids=["missing", "magic-link", "no-format"],
)
def test_scripts_that_cannot_run(gocker: Gocker, script: str, word: str) -> None:
    path = gocker.root / "script"
    path.write_text(script)
    path.chmod(0o755)
    result = gocker.job("/script", volumes=[bind(path, "/script")])
    assert result.verdict() == "start_failed"
    assert word in result.event("container.failed")["error"]["message"]


def test_the_launchers_own_program_cannot_be_executed(gocker: Gocker) -> None:
    result = gocker.job("/proc/self/exe", "-c", "print('host python')")
    assert result.verdict() == "start_failed"
    assert "a link into /proc" in result.event("container.failed")["error"]["message"]


def test_exit_code_from_tells_not_found_from_not_executable(gocker: Gocker) -> None:
    found = gocker.job("nosuchprogram", options=("--exit-code-from", "job"))
    refused = gocker.job("/etc/passwd", options=("--exit-code-from", "job"))
    assert (found.code, refused.code) == (127, 126)


def test_further_groups_without_a_user(gocker: Gocker) -> None:
    result = gocker.sh("id -u; id -G", group_add=["77", "audio"])
    assert result.log().splitlines() == ["0", "0 29 77"]
