#!/bin/busybox sh
# The virtual machine's first process: the host's files below an overlay, pure cgroup v2, the job.
# Settings: MODULES, MODULES_AT, CGROUP (v2, v1 or hybrid), SHARES (directories, writable).
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
. /job/settings
for module in $MODULES; do insmod "/mod/$module.ko"; done

# The device of a virtio port, by its name. They appear a moment after their driver.
port() {
    tries=0
    while [ $tries -lt 500 ]; do
        for place in /sys/class/virtio-ports/*; do
            [ "$(cat "$place/name" 2>/dev/null)" = "$1" ] && echo "/dev/${place##*/}" && return
        done
        tries=$((tries + 1))
        usleep 20000
    done
}
OUT=$(port vm.out) ERR=$(port vm.err) RESULT=$(port vm.result)
fail() {
    echo "no $1" >"$RESULT"
    poweroff -f
}

mkdir -p /lower /upper /new
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro root /lower || fail "9p root"
mount -t tmpfs -o size=90% upper /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /new ||
    fail "overlay root"

N=/new
mkdir -p $N/proc $N/sys $N/dev $N/run $N/scratch "$N/lib/modules/$(uname -r)"
for name in proc sys dev; do mount --move /$name $N/$name; done
mount -t tmpfs -o mode=755 run $N/run
mkdir -p $N/dev/pts $N/dev/shm $N/dev/mqueue
mount -t devpts -o ptmxmode=666,mode=620,gid=5 devpts $N/dev/pts
mount -t tmpfs shm $N/dev/shm
mount -t mqueue mqueue $N/dev/mqueue
ln -sfn /proc/self/fd $N/dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -sfn "/proc/self/fd/${number%:*}" "$N/dev/${number#*:}"; done
mount --bind "$N$MODULES_AT" "$N/lib/modules/$(uname -r)"
# Overlays want an upper layer on a real disk.
mount -t ext4 -o noatime $N/dev/vda $N/scratch || fail "disk"
mkdir -p $N/scratch/tmp $N/scratch/var-tmp
chmod 1777 $N/scratch/tmp $N/scratch/var-tmp
mount --bind $N/scratch/var-tmp $N/var/tmp
mount --bind $N/scratch/tmp $N/tmp
number=0
for directory in $SHARES; do
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none "share$number" "$N$directory" ||
        fail "share $directory"
    number=$((number + 1))
done

C=$N/sys/fs/cgroup
v1() {
    mount -t tmpfs -o mode=755 cgroup $C
    for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
        mkdir $C/$controller
        mount -t cgroup -o $controller cgroup $C/$controller || rmdir $C/$controller
    done
}
ENTER=
case $CGROUP in
    v2)
        mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 $C
        for controller in $(cat $C/cgroup.controllers); do
            echo "+$controller" >$C/cgroup.subtree_control
        done
        mkdir $C/job
        ENTER=/sys/fs/cgroup/job/cgroup.procs
        ;;
    v1) v1 ;;
    hybrid)
        v1
        mkdir $C/unified
        mount -t cgroup2 cgroup2 $C/unified
        ;;
esac
ip link set lo up
hostname vm
echo /sbin/modprobe >$N/proc/sys/kernel/modprobe
cp /job/script $N/run/vm-script
cp /bin/busybox $N/run/busybox
cat >$N/run/vm-init <<END
#!/run/busybox sh
/run/busybox mount --make-rshared /
{
    {
        [ -n "$ENTER" ] && echo 0 >"$ENTER"
        /bin/sh /run/vm-script </dev/null 2>&3 3>&-
        echo \$? >/run/vm-result
    } | /run/busybox cat >$OUT
} 3>&1 | /run/busybox cat >$ERR
/run/busybox cat /run/vm-result >$RESULT
/run/busybox sync
/run/busybox poweroff -f
END
exec switch_root $N /run/busybox sh /run/vm-init
