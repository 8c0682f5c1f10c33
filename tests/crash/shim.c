/* Preloaded into the program under test: counts what it does to files below a folder, and at one of these operations kills it
 * or lets the operation fail. A seccomp filter sees every system call, whichever library makes it; the calls of this file
 * pass by their address.
 *
 * CRASH_FOLDER: the folder, without links in its path. CRASH_LOG: gets a line per operation, "NUMBER KIND BYTES PATH".
 * CRASH_AT: the operation, from 1; 0 for none. CRASH_DO: "kill" before it, "half" within it (of a write, half of the bytes are
 * written), or the number of an error. CRASH_STAYS=1: every later operation fails too; a full disk, which is ENOSPC, still
 * removes and renames.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

long crash_gate(long number, long a, long b, long c, long d, long e, long f);
extern const char crash_gate_passed[];

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define RESULT(context) (context)->uc_mcontext.gregs[REG_RAX]
#define ARGUMENTS(context)                                                                                             \
    { (context)->uc_mcontext.gregs[REG_RDI], (context)->uc_mcontext.gregs[REG_RSI],                                    \
      (context)->uc_mcontext.gregs[REG_RDX], (context)->uc_mcontext.gregs[REG_R10],                                    \
      (context)->uc_mcontext.gregs[REG_R8], (context)->uc_mcontext.gregs[REG_R9] }
__asm__(".text\n.globl crash_gate\n.globl crash_gate_passed\n.type crash_gate,@function\ncrash_gate:\n"
        "mov %rdi, %rax\nmov %rsi, %rdi\nmov %rdx, %rsi\nmov %rcx, %rdx\nmov %r8, %r10\nmov %r9, %r8\n"
        "mov 8(%rsp), %r9\nsyscall\ncrash_gate_passed:\nret\n");
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#define RESULT(context) (context)->uc_mcontext.regs[0]
#define ARGUMENTS(context)                                                                                             \
    { (context)->uc_mcontext.regs[0], (context)->uc_mcontext.regs[1], (context)->uc_mcontext.regs[2],                  \
      (context)->uc_mcontext.regs[3], (context)->uc_mcontext.regs[4], (context)->uc_mcontext.regs[5] }
__asm__(".text\n.globl crash_gate\n.globl crash_gate_passed\n.type crash_gate,%function\ncrash_gate:\n"
        "mov x8, x0\nmov x0, x1\nmov x1, x2\nmov x2, x3\nmov x3, x4\nmov x4, x5\nmov x5, x6\n"
        "svc 0\ncrash_gate_passed:\nret\n");
#else
#error "the registers of this processor are not known here"
#endif

/* How a call names what it changes: by a path and perhaps the folder that it begins at, by two of these, or by a file. */
enum names { PATH, AT, PATH_PATH, AT_AT, PATH_AT, FIRST_FILE, THIRD_FILE };
static const struct call {
    long number;
    enum names names;
    const char *kind;
} CALLS[] = {
#ifdef SYS_open
    {SYS_open, PATH, "open"},
    {SYS_creat, PATH, "open"},
    {SYS_rename, PATH_PATH, "rename"},
    {SYS_link, PATH_PATH, "link"},
    {SYS_symlink, PATH_PATH, "symlink"},
    {SYS_unlink, PATH, "unlink"},
    {SYS_rmdir, PATH, "unlink"},
    {SYS_mkdir, PATH, "mkdir"},
#endif
#ifdef SYS_renameat
    {SYS_renameat, AT_AT, "rename"},
#endif
    {SYS_openat, AT, "open"},
    {SYS_renameat2, AT_AT, "rename"},
    {SYS_linkat, AT_AT, "link"},
    {SYS_symlinkat, PATH_AT, "symlink"},
    {SYS_unlinkat, AT, "unlink"},
    {SYS_mkdirat, AT, "mkdir"},
    {SYS_truncate, PATH, "truncate"},
    {SYS_ftruncate, FIRST_FILE, "truncate"},
    {SYS_fallocate, FIRST_FILE, "truncate"},
    {SYS_fsync, FIRST_FILE, "sync"},
    {SYS_fdatasync, FIRST_FILE, "sync"},
    {SYS_write, FIRST_FILE, "write"},
    {SYS_pwrite64, FIRST_FILE, "write"},
    {SYS_writev, FIRST_FILE, "write"},
    {SYS_pwritev, FIRST_FILE, "write"},
    {SYS_sendfile, FIRST_FILE, "copy"},
    {SYS_copy_file_range, THIRD_FILE, "copy"},
};
enum { COUNT = sizeof CALLS / sizeof *CALLS, LONGEST = 4096 };

static char folder[LONGEST];
static int log_file = -1, error_number, is_half, stays;
static long chosen, done;

/* Where a file or a folder that is open lies. */
static void path_of(long file, char *out) {
    char name[64] = "/proc/self/cwd";
    if ((int)file != AT_FDCWD) snprintf(name, sizeof name, "/proc/self/fd/%d", (int)file);
    long length = crash_gate(SYS_readlinkat, AT_FDCWD, (long)name, (long)out, LONGEST - 1, 0, 0);
    out[length < 0 ? 0 : length] = 0;
}

static void whole_path(long start, long path, char *out) {
    const char *name = (const char *)path;
    if (*name == '/') {
        snprintf(out, LONGEST, "%s", name);
        return;
    }
    path_of(start, out);
    size_t length = strlen(out);
    snprintf(out + length, LONGEST - length, "/%s", name);
}

static int is_below(const char *path) {
    size_t length = strlen(folder);
    return !strncmp(path, folder, length) && path[length] == '/';
}

/* Whether the call changes something below the folder, and the path of what it changes. */
static int changes(const struct call *call, const long *a, char *path) {
    char from[LONGEST] = "";
    long flags = call->names == PATH ? a[1] : a[2];
    switch (call->names) {
    case PATH: whole_path(AT_FDCWD, a[0], path); break;
    case AT: whole_path(a[0], a[1], path); break;
    case PATH_PATH: whole_path(AT_FDCWD, a[0], from), whole_path(AT_FDCWD, a[1], path); break;
    case AT_AT: whole_path(a[0], a[1], from), whole_path(a[2], a[3], path); break;
    case PATH_AT: whole_path(a[1], a[2], path); break;
    case FIRST_FILE: path_of(a[0], path); break;
    case THIRD_FILE: path_of(a[2], path); break;
    }
#ifdef SYS_creat
    if (call->number == SYS_creat) flags = O_CREAT;
#endif
    if (!strcmp(call->kind, "open") && !(flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))) return 0;
    return is_below(path) || is_below(from);
}

static void die(void) {
    crash_gate(SYS_kill, crash_gate(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
}

static void on_call(int signal, siginfo_t *info, void *data) {
    (void)signal;
    ucontext_t *context = data;
    const long a[6] = ARGUMENTS(context);
    const struct call *call = CALLS;
    while (call->number != info->si_syscall) call++;
    char path[LONGEST], line[LONGEST + 64];
    int is_write = call->number == SYS_write || call->number == SYS_pwrite64;
    if (changes(call, a, path)) {
        long number = __atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
        int length = snprintf(line, sizeof line, "%ld %s %ld %s\n", number, call->kind, is_write ? a[2] : 0, path);
        crash_gate(SYS_write, log_file, (long)line, length, 0, 0, 0);
        int is_harmless = error_number == ENOSPC && (!strcmp(call->kind, "unlink") || !strcmp(call->kind, "rename"));
        if (number == chosen && is_half && is_write) crash_gate(call->number, a[0], a[1], a[2] / 2, a[3], a[4], a[5]);
        if (number == chosen && !error_number) die();
        if (number == chosen || (chosen && number > chosen && stays && !is_harmless)) {
            RESULT(context) = -error_number;
            return;
        }
    }
    RESULT(context) = crash_gate(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void give_up(const char *what) {
    perror(what);
    _exit(99);
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("CRASH_AT"), *what = getenv("CRASH_DO"), *log = getenv("CRASH_LOG");
    snprintf(folder, sizeof folder, "%s", getenv("CRASH_FOLDER") ? getenv("CRASH_FOLDER") : "");
    if (!*folder || !log || !at || !what) give_up("CRASH_FOLDER, CRASH_LOG, CRASH_AT and CRASH_DO must be set");
    chosen = atol(at);
    is_half = !strcmp(what, "half");
    error_number = atoi(what);
    stays = getenv("CRASH_STAYS") != NULL;
    log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log_file < 0) give_up(log);
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    sigaction(SIGSYS, &action, NULL);
    unsigned long gate = (unsigned long)crash_gate_passed;
    struct sock_filter filter[COUNT + 9] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, COUNT + 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)gate, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(gate >> 32), COUNT + 1, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    for (int i = 0; i < COUNT; i++)
        filter[7 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[i].number, COUNT - i, 0);
    filter[COUNT + 7] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[COUNT + 8] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    struct sock_fprog program = {.len = COUNT + 9, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) give_up("no_new_privs");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) give_up("seccomp");
}
