/*
 * The physical limit: per container the system calls that gocker's launcher and init make, without
 * a line of Python. `limit RECIPE ROOTFS SCRATCH FILTER NUMBER` starts NUMBER containers, one
 * after the other, and prints the nanoseconds of each. tests/bench/limit.py writes the recipe from
 * the container's own config.json, so both sides do the same.
 *
 * Words of a line are separated by tabs. No error is tolerated but a missing path to mask.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINES = 512, MAX_WORDS = 8, MAX_CGROUPS = 16, STACK = 1 << 20 };

struct line { char *word[MAX_WORDS]; int words; };

static struct line lines[MAX_LINES];
static int line_count, cgroup_count, filter_length;
static int cgroup_fds[MAX_CGROUPS], task_fds[MAX_CGROUPS];
static char *cgroup_paths[MAX_CGROUPS];
static struct sock_filter *filter;
static char name[32], scratch[4096], answer[65536];
static int layer_fd, tree_fd;

#define CHECK(call) check((long)(call), #call)
static long check(long result, const char *call) {
    if (result < 0) {
        dprintf(2, "limit: %s: %s\n", call, strerror(errno));
        _exit(1);
    }
    return result;
}

static int is(const struct line *line, const char *verb) { return !strcmp(line->word[0], verb); }
#define EACH(verb, line) \
    for (struct line *line = lines; line < lines + line_count; line++) if (is(line, verb))

static int in_root(int root, const char *path, int flags, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    return syscall(SYS_openat2, root, path, &how, sizeof how);
}

static void write_text(int dir, const char *path, const char *text, int read_back) {
    int fd = CHECK(openat(dir, path, (read_back ? O_RDWR : O_WRONLY) | O_CLOEXEC));
    CHECK(write(fd, text, strlen(text)));
    if (read_back) CHECK(pread(fd, answer, 16384, 0));
    close(fd);
}

static int make_below(int root, char *path) {
    int fd = in_root(root, path, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT);
    if (fd >= 0) return fd;
    char *slash = strrchr(path, '/');
    *slash = 0;
    int parent = CHECK(in_root(root, path, O_PATH | O_DIRECTORY,
                               RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT));
    *slash = '/';
    CHECK(mkdirat(parent, slash + 1, 0755));
    fd = CHECK(in_root(parent, slash + 1, O_PATH | O_DIRECTORY,
                       RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH));
    close(parent);
    return fd;
}

static void set_attributes(int fd, const char *path, uint64_t set) {
    struct mount_attr attributes = {.attr_set = set};
    CHECK(syscall(SYS_mount_setattr, fd, path, AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                  sizeof attributes));
}

static void mounts(void) {
    char at[64];
    EACH("mount", line) {
        int fd = make_below(tree_fd, line->word[2]);
        snprintf(at, sizeof at, "/proc/self/fd/%d", fd);
        CHECK(mount(line->word[1], at, line->word[3], strtoul(line->word[4], 0, 0),
                    line->words > 5 ? line->word[5] : ""));
        close(fd);
    }
}

static void cgroup_mounts(void) {
    char at[64], source[8192];
    int fd = in_root(tree_fd, "/sys/fs/cgroup", O_PATH | O_DIRECTORY,
                     RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT);
    CHECK(fd);
    EACH("cgroup", line) {
        int number = atoi(line->word[1]);
        CHECK(mkdirat(fd, line->word[3], 0755));
        snprintf(at, sizeof at, "/proc/self/fd/%d/%s", fd, line->word[3]);
        snprintf(source, sizeof source, "%s/%s", cgroup_paths[number], name);
        CHECK(mount(source, at, NULL, MS_BIND, NULL));
    }
    set_attributes(fd, "", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                               MOUNT_ATTR_NOEXEC);
    close(fd);
}

static void files(void) {
    char at[64], from[64];
    int number = 0;
    CHECK(mount("tmpfs", "files", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=1m"));
    int dir = CHECK(open("files", O_PATH | O_DIRECTORY | O_CLOEXEC));
    EACH("file", line) {
        snprintf(from, sizeof from, "%d", number);
        int fd = CHECK(openat(dir, from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        CHECK(write(fd, line->word[2], strlen(line->word[2])));
        CHECK(fchmod(fd, 0644));
        close(fd);
        fd = CHECK(in_root(tree_fd, line->word[1], O_PATH,
                           RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT));
        snprintf(at, sizeof at, "/proc/self/fd/%d", fd);
        snprintf(from, sizeof from, "files/%d", number++);
        CHECK(mount(from, at, NULL, MS_BIND, NULL));
        close(fd);
    }
    close(dir);
}

static void devices(void) {
    int dev = CHECK(in_root(tree_fd, "/dev", O_PATH | O_DIRECTORY,
                            RESOLVE_NO_SYMLINKS | RESOLVE_IN_ROOT));
    EACH("node", line)
        CHECK(mknodat(dev, line->word[1], S_IFCHR | 0666,
                      makedev(atoi(line->word[2]), atoi(line->word[3]))));
    EACH("link", line) CHECK(symlinkat(line->word[1], dev, line->word[2]));
    close(dev);
}

static void sysctls(void) {
    EACH("sysctl", line) {
        int fd = CHECK(in_root(tree_fd, line->word[1], O_WRONLY,
                               RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH));
        CHECK(write(fd, line->word[2], strlen(line->word[2])));
        close(fd);
    }
}

static void protect(void) {
    char from[8192];
    CHECK(fchdir(tree_fd));
    EACH("mask", line) {
        snprintf(from, sizeof from, "%s/mask/%s", scratch, line->word[2]);
        if (mount(from, line->word[1], NULL, MS_BIND | MS_REC, NULL) && errno != ENOENT)
            CHECK(-1);
    }
    EACH("readonly", line) {
        if (mount(line->word[1], line->word[1], NULL, MS_BIND | MS_REC, NULL)) continue;
        set_attributes(AT_FDCWD, line->word[1], MOUNT_ATTR_RDONLY);
    }
    CHECK(chdir(scratch));
}

static void loopback(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = CHECK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request));
    request.ifr_flags |= IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void confine(void) {
    EACH("drop", line) CHECK(prctl(PR_CAPBSET_DROP, atoi(line->word[1]), 0, 0, 0));
    CHECK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    CHECK(syscall(SYS_setgroups, 0, NULL));
    CHECK(syscall(SYS_setresgid, 0, 0, 0));
    CHECK(syscall(SYS_setresuid, 0, 0, 0));
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    EACH("caps", line) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {{0}};
        data[0].effective = data[0].permitted = strtoul(line->word[1], 0, 0);
        CHECK(syscall(SYS_capset, &header, data));
    }
    CHECK(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0));
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    CHECK(syscall(SYS_close_range, 3, ~0U, 0));
    CHECK(chdir("/"));
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    struct sock_fprog program = {.len = filter_length, .filter = filter};
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
}

static int child(void *unused) {
    (void)unused;
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    setsid();
    umask(0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) dup2(null, fd);
    syscall(SYS_keyctl, 1, NULL);
    CHECK(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET));
    CHECK(sethostname("job", 3));
    loopback();
    int at = CHECK(open("rootfs", O_PATH | O_DIRECTORY | O_CLOEXEC));
    CHECK(syscall(SYS_move_mount, tree_fd, "", at, "",
                  MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
    close(at);
    mounts();
    cgroup_mounts();
    files();
    devices();
    sysctls();
    EACH("oom_score_adj", line) write_text(AT_FDCWD, "/proc/thread-self/oom_score_adj",
                                           line->word[1], 0);
    protect();
    CHECK(fchdir(tree_fd));
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
    for (int number = 0; number < cgroup_count; number++) CHECK(write(task_fds[number], "0", 1));
    CHECK(unshare(CLONE_NEWCGROUP));
    umask(022);
    EACH("rlimit", line) {
        struct rlimit limit = {strtoull(line->word[2], 0, 0), strtoull(line->word[3], 0, 0)};
        CHECK(setrlimit(atoi(line->word[1]), &limit));
    }
    confine();
    char *argv[] = {"/bin/true", NULL}, *envp[] = {"PATH=/bin", "HOME=/", "HOSTNAME=job", NULL};
    execve(argv[0], argv, envp);
    _exit(1);
}

static void create(void) {
    for (int number = 0; number < cgroup_count; number++)
        CHECK(mkdirat(cgroup_fds[number], name, 0777));
    EACH("limit", line) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", name, line->word[2]);
        write_text(cgroup_fds[atoi(line->word[1])], path, line->word[3], line->words > 4);
    }
    tree_fd = CHECK(syscall(SYS_open_tree, layer_fd, "",
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
    for (int number = 0; number < cgroup_count; number++) {
        char path[256];
        snprintf(path, sizeof path, "%s/tasks", name);
        task_fds[number] = CHECK(openat(cgroup_fds[number], path, O_WRONLY | O_CLOEXEC));
    }
}

static void finish(void) {
    EACH("stat", line) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", name, line->word[2]);
        int fd = CHECK(openat(cgroup_fds[atoi(line->word[1])], path, O_RDONLY | O_CLOEXEC));
        CHECK(read(fd, answer, sizeof answer));
        close(fd);
    }
    for (int number = 0; number < cgroup_count; number++)
        CHECK(unlinkat(cgroup_fds[number], name, AT_REMOVEDIR));
}

static void container(char *stack) {
    create();
    int pidfd, pid = CHECK(clone(child, stack + STACK, CLONE_VM | CLONE_VFORK | CLONE_NEWPID |
                                 CLONE_PIDFD | SIGCHLD, NULL, &pidfd));
    close(tree_fd);
    for (int number = 0; number < cgroup_count; number++) close(task_fds[number]);
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    CHECK(poll(&wait, 1, -1));
    int status;
    CHECK(waitpid(pid, &status, 0));
    if (status) { dprintf(2, "limit: a container ended with status %d\n", status); _exit(1); }
    close(pidfd);
    finish();
}

static void read_recipe(const char *path) {
    static char text[1 << 16];
    int fd = CHECK(open(path, O_RDONLY));
    CHECK(read(fd, text, sizeof text - 1));
    close(fd);
    for (char *rest = text, *at; (at = strsep(&rest, "\n")) && *at;) {
        struct line *line = &lines[line_count++];
        for (char *word; (word = strsep(&at, "\t"));) line->word[line->words++] = word;
    }
    EACH("cgroup", line) {
        cgroup_paths[cgroup_count] = line->word[2];
        cgroup_fds[cgroup_count++] = CHECK(open(line->word[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
}

static void prepare(const char *rootfs) {
    char options[16384];
    CHECK(unshare(CLONE_NEWNS));
    CHECK(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
    CHECK(chdir(scratch));
    for (const char **dir = (const char *[]){"rootfs", "files", "mask", "upper", "work", 0}; *dir;)
        CHECK(mkdir(*dir++, 0755));
    CHECK(mkdir("mask/dir", 0555));
    close(CHECK(open("mask/file", O_CREAT | O_WRONLY, 0444)));
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work,volatile",
             rootfs, scratch, scratch);
    CHECK(mount("overlay", "rootfs", "overlay", MS_NOSUID | MS_NODEV, options));
    layer_fd = CHECK(syscall(SYS_open_tree, AT_FDCWD, "rootfs",
                             OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    CHECK(umount2("rootfs", MNT_DETACH));
}

static void read_filter(const char *path) {
    struct stat stat;
    int fd = CHECK(open(path, O_RDONLY));
    CHECK(fstat(fd, &stat));
    filter = malloc(stat.st_size);
    CHECK(read(fd, filter, stat.st_size));
    filter_length = stat.st_size / sizeof *filter;
    close(fd);
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    read_recipe(argv[1]);
    snprintf(scratch, sizeof scratch, "%s", argv[3]);
    read_filter(argv[4]);
    prepare(argv[2]);
    char *stack = malloc(STACK);
    for (int number = 0; number < atoi(argv[5]); number++) {
        struct timespec before, after;
        snprintf(name, sizeof name, "limit-%d-%d", getpid(), number);
        clock_gettime(CLOCK_MONOTONIC, &before);
        container(stack);
        clock_gettime(CLOCK_MONOTONIC, &after);
        printf("%lld\n", (after.tv_sec - before.tv_sec) * 1000000000LL +
                             after.tv_nsec - before.tv_nsec);
    }
    return 0;
}
