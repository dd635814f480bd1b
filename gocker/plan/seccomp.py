"""The default `linux.seccomp`: what is allowed, what is refused with EPERM, all else ENOSYS.

ENOSYS is what a program expects of a kernel that is too old, so its library falls back;
EPERM is for calls that every kernel has and that we refuse. docs/posture.md has the reasons.
A name that an architecture lacks is skipped where the profile is compiled, so one list serves
all of them.
"""

from __future__ import annotations

import errno
import os

from gocker.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from gocker import oci


ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

# By subject. uretprobe and uprobe: the kernel's own trampolines call them in any process.
_ALLOWED = """
    execve execveat exit exit_group fork vfork wait4 waitid kill tkill tgkill rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sigaltstack signalfd signalfd4 pidfd_open pidfd_send_signal pause
    restart_syscall process_mrelease

    getpid getppid gettid getpgid getpgrp getsid setpgid setsid set_tid_address
    getuid geteuid getgid getegid getgroups getresuid getresgid setuid setgid setgroups
    setreuid setregid setresuid setresgid setfsuid setfsgid capget capset prctl arch_prctl
    seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self

    brk mmap munmap mremap mprotect msync mincore madvise mlock mlock2 mlockall munlock
    munlockall mseal membarrier remap_file_pages pkey_alloc pkey_free pkey_mprotect
    memfd_create map_shadow_stack
    shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
    mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr

    futex futex_waitv futex_wait futex_wake futex_requeue set_robust_list get_robust_list rseq
    sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
    sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval getpriority setpriority ioprio_get ioprio_set
    getcpu getrlimit setrlimit prlimit64 getrusage times sysinfo uname umask getrandom

    time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep adjtimex clock_adjtime
    alarm getitimer setitimer timer_create timer_delete timer_gettime timer_settime
    timer_getoverrun timerfd_create timerfd_gettime timerfd_settime

    open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev
    pwrite64 pwritev pwritev2 lseek sendfile copy_file_range splice tee vmsplice readahead
    fadvise64 fallocate truncate ftruncate sync syncfs sync_file_range fsync fdatasync flock
    fcntl dup dup2 dup3 pipe pipe2 eventfd eventfd2
    io_setup io_submit io_cancel io_getevents io_pgetevents io_destroy
    select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
    epoll_pwait2 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch

    stat fstat lstat newfstatat statx statfs fstatfs statmount listmount access faccessat
    faccessat2 getcwd chdir fchdir getdents getdents64 mkdir mkdirat rmdir rename renameat
    renameat2 link linkat unlink unlinkat symlink symlinkat readlink readlinkat mknod mknodat
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes futimesat utimensat
    getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
    listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr
    removexattrat

    bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt
    sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg

    uretprobe uprobe
"""
ALLOWED = tuple(_ALLOWED.split())

# Refused with EPERM unless one of the capabilities is the container's; () means always.
GUARDED: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("CAP_SYS_ADMIN",),
        "unshare setns mount umount2 pivot_root open_tree open_tree_attr move_mount fsopen "
        "fsconfig fsmount fspick mount_setattr quotactl quotactl_fd sethostname setdomainname "
        "fanotify_init fanotify_mark lookup_dcookie lsm_get_self_attr lsm_set_self_attr "
        "lsm_list_modules",
    ),
    (
        ("CAP_SYS_PTRACE",),
        "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd userfaultfd",
    ),
    (("CAP_SYS_ADMIN", "CAP_BPF"), "bpf"),
    (("CAP_SYS_ADMIN", "CAP_PERFMON"), "perf_event_open"),
    (("CAP_SYS_ADMIN", "CAP_SYSLOG"), "syslog"),
    (("CAP_DAC_READ_SEARCH",), "name_to_handle_at open_by_handle_at"),
    (("CAP_IPC_LOCK",), "memfd_secret"),
    (("CAP_SYS_BOOT",), "reboot"),
    (("CAP_SYS_CHROOT",), "chroot"),
    (("CAP_SYS_MODULE",), "init_module finit_module delete_module"),
    (
        ("CAP_SYS_NICE",),
        "mbind get_mempolicy set_mempolicy set_mempolicy_home_node migrate_pages move_pages",
    ),
    (("CAP_SYS_PACCT",), "acct"),
    (("CAP_SYS_RAWIO",), "iopl ioperm"),
    (("CAP_SYS_TIME",), "settimeofday clock_settime"),
    (("CAP_SYS_TTY_CONFIG",), "vhangup"),
    (
        (),
        "io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key "
        "kexec_load kexec_file_load swapon swapoff modify_ldt uselib nfsservctl",
    ),
)

_CLONE_NEW = 0x7E020000  # include/uapi/linux/sched.h: all CLONE_NEW* that clone(2) takes
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _AF_PACKET = 1, 2, 10, 16, 17
_NETLINK_ROUTE, _NETLINK_AUDIT = 0, 9
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# personality(2): PER_LINUX, PER_LINUX32, both with UNAME26, and "tell me".
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# The kernel takes these arguments as int: the upper half of the register is not theirs, and
# comparing it would let TIOCSTI + 2**32 through.
_INT = 0xFFFFFFFF


def default_seccomp(
    caps: Collection[str], machine: str | None = None, extra: Collection[str] = ()
) -> oci.Seccomp:
    """Return the default profile for a container with these capabilities (``CAP_...``).

    Args:
        caps: the bounding set; each capability opens the calls that are of no use without it.
        extra: calls to allow whatever the capabilities are.
        machine: as uname(2) says, None for this one; only its own architecture is listed.

    Raises:
        HostError: for a machine whose system calls gocker has no table of.
    """
    machine = machine or os.uname().machine
    if machine not in ARCHITECTURES:
        raise HostError(
            f"no seccomp profile for {machine!r}", hint="set security_opt: [seccomp=unconfined]"
        )
    allowed = [*ALLOWED, *extra]
    refused: list[str] = []
    for holders, names in GUARDED:
        (allowed if set(holders) & set(caps) else refused).extend(names.split())
    refused = [name for name in refused if name not in extra]
    if "CAP_SYS_ADMIN" in caps:
        allowed += ["clone", "clone3"]
    rules = [_allow(allowed), _refuse(refused)]
    if "CAP_SYS_ADMIN" not in caps:
        # clone3 hides its flags in memory, so it stays ENOSYS and libraries use clone.
        rules += [_allow(["clone"], _masked(0, _CLONE_NEW, 0)), _else_refuse("clone")]
    rules += _sockets(caps)
    for request in (_TIOCSTI, _TIOCLINUX):
        rules.append(_refuse(["ioctl"], _masked(1, _INT, request)))
    rules.append(_allow(["ioctl"], _ANY))
    rules += [_allow(["personality"], _masked(0, _INT, value)) for value in _PERSONALITIES]
    rules.append(_else_refuse("personality"))
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [ARCHITECTURES[machine]],
        "syscalls": rules,
    }


def _sockets(caps: Collection[str]) -> list[oci.SeccompRule]:
    families = [_AF_UNIX, _AF_INET, _AF_INET6]
    if "CAP_NET_RAW" in caps:
        families.append(_AF_PACKET)
    rules = [_allow(["socket"], _masked(0, _INT, family)) for family in families]
    netlink = _masked(0, _INT, _AF_NETLINK)
    if "CAP_NET_ADMIN" in caps:
        rules.append(_allow(["socket"], netlink))
    else:
        protocols = [_NETLINK_ROUTE]
        if {"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL"} & set(caps):
            protocols.append(_NETLINK_AUDIT)
        rules += [_allow(["socket"], netlink, _masked(2, _INT, value)) for value in protocols]
    pair = _allow(["socketpair"], _masked(0, _INT, _AF_UNIX))
    return [*rules, _else_refuse("socket"), pair, _else_refuse("socketpair")]


def _masked(index: int, mask: int, value: int) -> oci.SeccompArg:
    return {"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value}


# Always true: how to write "otherwise" for libseccomp, where a rule without tests replaces
# those with tests. It tries masks before ranges and later arguments before earlier ones, so
# this comes last there, too (seen in 2.5.4; the oracle tests hold it to that).
_ANY: oci.SeccompArg = {"index": 0, "op": "SCMP_CMP_GE", "value": 0}


def _allow(names: list[str], *args: oci.SeccompArg) -> oci.SeccompRule:
    rule: oci.SeccompRule = {"names": names, "action": "SCMP_ACT_ALLOW"}
    return {**rule, "args": [*args]} if args else rule


def _refuse(names: list[str], *args: oci.SeccompArg) -> oci.SeccompRule:
    rule: oci.SeccompRule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}
    return {**rule, "args": [*args]} if args else rule


def _else_refuse(name: str) -> oci.SeccompRule:
    return _refuse([name], _ANY)
