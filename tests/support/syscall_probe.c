/* Makes the system calls named by its arguments, each in a child, and prints what came of it.
 *
 * NUMBER[,ARGUMENT]...  a native call     i386:NUMBER  the same through int $0x80 (x86)
 *
 * One line per argument: "ok", the errno as a number, or "signal N".
 * A child ends at once after its call, so a call that succeeds changes nothing for the next.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static long call(const char *text)
{
    long value[7] = {0};
    if (strncmp(text, "i386:", 5) == 0) {
#if defined(__x86_64__)
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(atol(text + 5)) : "memory", "r8", "r9",
                         "r10", "r11");
        errno = result < 0 ? (int)-result : 0;
        return result < 0 ? -1 : result;
#endif
    }
    for (int i = 0; i < 7 && *text; i++) {
        char *end;
        value[i] = (long)strtoull(text, &end, 0);
        text = *end == ',' ? end + 1 : end;
    }
    return syscall(value[0], value[1], value[2], value[3], value[4], value[5], value[6]);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int status, answer[2];
        if (pipe(answer))
            return 2;
        fflush(stdout);
        pid_t parent = getpid(), pid = fork();
        if (pid == 0) {
            int code = call(argv[i]) < 0 ? errno : 0;
            /* A clone that succeeded makes one more process: only one may answer. */
            if (getppid() == parent && write(answer[1], &code, sizeof code) != sizeof code)
                _exit(2);
            _exit(0);
        }
        int code = -1;
        waitpid(pid, &status, 0);
        close(answer[1]);
        if (WIFSIGNALED(status))
            printf("signal %d\n", WTERMSIG(status));
        else if (read(answer[0], &code, sizeof code) != sizeof code)
            printf("nothing\n");
        else if (code)
            printf("%d\n", code);
        else
            printf("ok\n");
        close(answer[0]);
    }
    return 0;
}
