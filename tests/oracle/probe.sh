#!/bin/sh
# Prints what a container's program sees, one "key value" per line. Shell and busybox only.
say() { echo "$@"; }
status() { while read -r key value; do [ "$key" = "$1:" ] && say "$2" $value; done < /proc/1/status; }

say args "$0" "$@"
say pid $$
say cwd "$(pwd)"
say hostname "$(hostname)"
say domainname "$(cat /proc/sys/kernel/domainname)"
say umask "$(umask)"
for key in Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp SigBlk SigIgn SigCgt; do
    status $key "status.$key"
done
say oom_score_adj "$(cat /proc/1/oom_score_adj)"
say session "$(cut -d' ' -f5,6 /proc/1/stat)"
env | while IFS= read -r line; do say "env.${line%%=*}" "${line#*=}"; done
while IFS= read -r line; do
    name=${line%%  *}
    say "rlimit.$(echo "${name#Max }" | tr ' ' _)" ${line#"$name"}
done < /proc/1/limits
for fd in /proc/1/fd/*; do say "fd.${fd##*/}" open; done
for kind in cgroup ipc mnt net pid uts user time; do say "ns.$kind" "$(readlink /proc/1/ns/$kind)"; done
while read -r id parent device root target options rest; do
    case $rest in *" - "*) super=${rest#* - };; "- "*) super=${rest#- };; esac
    case $rest in -*) propagation=private;; *) propagation=${rest%% *};; esac
    say "mount $target ${super%% *} $options $propagation"
done < /proc/1/mountinfo
for path in $MASKED; do
    if [ ! -e "$path" ]; then say "masked.$path" missing
    elif [ -d "$path" ]; then say "masked.$path" directory "$(ls -A "$path" | head -n 1)"
    else say "masked.$path" file "$(head -c 16 "$path" 2>/dev/null | od -An -tx1 | head -n 1)"; fi
done
for path in $READONLY; do
    if [ ! -e "$path" ]; then say "readonly.$path" missing
    elif [ -d "$path" ]; then
        said=$(mkdir "$path/gocker-probe" 2>&1) && said=writable
        say "readonly.$path" "${said##*: }"
    else
        { : > "$path"; } 2>/dev/null && say "readonly.$path" writable || say "readonly.$path" refused
    fi
done
for name in null zero full random urandom tty; do
    say "device.$name" "$(stat -c '%F %t:%T %a %u:%g' /dev/$name)"
done
for name in null zero full random urandom; do
    { head -c 1 /dev/$name >/dev/null; } 2>/dev/null && say "open.$name" works || say "open.$name" refused
done
for link in fd stdin stdout stderr ptmx; do say "link.$link" "$(readlink /dev/$link)"; done
mknod /tmp/disk b 259 0 2>/dev/null && say mknod made || say mknod refused
for file in $SYSCTL; do say "sysctl.$file" "$(cat "/proc/sys/$file")"; done
for file in $CGROUP; do say "cgroup.$file" "$(cat "/sys/fs/cgroup/$file" 2>/dev/null | head -n 20 | tr '\n' ' ')"; done
for file in hosts hostname resolv.conf; do say "file./etc/$file" "$(stat -c '%a %u:%g' /etc/$file)" "$(md5sum < /etc/$file)"; done
say root.write "$(touch /gocker-probe 2>/dev/null && echo works || echo refused)"
for name in $(ls /sys/class/net); do say "interface.$name" "$(cat /sys/class/net/$name/flags)"; done
