/*
 * Lets Debian's User Mode Linux (6.1) run on processors with AMX: preloaded, it stands between it and ptrace(2).
 *
 * That kernel has room for 2696 bytes of registers of a process (XSAVE), and an AMX processor has 11 KiB: the system gives it
 * the front, and takes nothing back but the whole. The rest is what the process has, and nobody there changes it.
 *
 * See arch/x86/um/os-Linux/registers.c of Linux before 6.13, and xstateregs_set in arch/x86/kernel/fpu/regset.c.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

typedef long ptrace_fn(enum __ptrace_request, pid_t, void *, void *);

static long xstate(long request, pid_t pid, struct iovec *part)
{
    static _Thread_local char all[65536] __attribute__((aligned(64)));
    struct iovec whole = { all, sizeof all };

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) < 0)
        return -1;
    if (part->iov_len > whole.iov_len)
        part->iov_len = whole.iov_len;
    if (request == PTRACE_GETREGSET) {
        memcpy(part->iov_base, all, part->iov_len);
        return 0;
    }
    memcpy(all, part->iov_base, part->iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_fn *next;
    va_list rest;

    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) && (long)address == NT_X86_XSTATE)
        return xstate(request, pid, data);
    if (!next)
        next = (ptrace_fn *)dlsym(RTLD_NEXT, "ptrace");
    return next(request, pid, address, data);
}
