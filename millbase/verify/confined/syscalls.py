"""Numbers of the system calls that the sandbox makes or lets through, on x86-64 and on ARM64.

From Linux's `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`; numbers never change.
"""

from __future__ import annotations

import platform

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What a seccomp filter is told about the instruction set (linux/audit.h)."""

_NONE = -1

_NUMBERS = """
read 0 63; write 1 64; readv 19 65; writev 20 66; pread64 17 67; pwrite64 18 68; preadv 295 69; pwritev 296 70;
open 2 -1; openat 257 56; creat 85 -1; close 3 57; close_range 436 436; lseek 8 62; stat 4 -1; fstat 5 80; lstat 6 -1;
newfstatat 262 79; statx 332 291; statfs 137 43; fstatfs 138 44; access 21 -1; faccessat 269 48; faccessat2 439 439;
readlink 89 -1; readlinkat 267 78; getdents64 217 61; getcwd 79 17; chdir 80 49; fchdir 81 50; mkdir 83 -1;
mkdirat 258 34; rmdir 84 -1; unlink 87 -1; unlinkat 263 35; rename 82 -1; renameat 264 38; renameat2 316 276;
link 86 -1; linkat 265 37; symlink 88 -1; symlinkat 266 36; ftruncate 77 46; fallocate 285 47; fsync 74 82;
fdatasync 75 83; fadvise64 221 223; flock 73 32; umask 95 166; dup 32 23; dup2 33 -1; dup3 292 24; fcntl 72 25;
ioctl 16 29; pipe 22 -1; pipe2 293 59; poll 7 -1; ppoll 271 73; select 23 -1; pselect6 270 72; epoll_create1 291 20;
epoll_ctl 233 21; epoll_wait 232 -1; epoll_pwait 281 22; eventfd2 290 19; socketpair 53 199; sendto 44 206;
recvfrom 45 207; sendmsg 46 211; recvmsg 47 212; shutdown 48 210; getsockopt 55 209; setsockopt 54 208;
getsockname 51 204; getpeername 52 205; mmap 9 222; munmap 11 215; mprotect 10 226; mremap 25 216; madvise 28 233;
brk 12 214; msync 26 227; mincore 27 232; membarrier 324 283; rseq 334 293; set_robust_list 273 99;
set_tid_address 218 96; futex 202 98; sched_yield 24 124; sched_getaffinity 204 123; getcpu 309 168; clone 56 220;
fork 57 -1; vfork 58 -1; clone3 435 435; execve 59 221; wait4 61 260; waitid 247 95; exit 60 93; exit_group 231 94;
rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigpending 127 136; rt_sigsuspend 130 133;
rt_sigtimedwait 128 137; sigaltstack 131 132; tgkill 234 131; kill 62 129; arch_prctl 158 -1; prctl 157 167;
prlimit64 302 261; getrlimit 97 163; setrlimit 160 164; getrusage 98 165; times 100 153; getpid 39 172;
getppid 110 173; gettid 186 178; getuid 102 174; geteuid 107 175; getgid 104 176; getegid 108 177; getresuid 118 148;
getresgid 120 150; getgroups 115 158; getpgrp 111 -1; getpgid 121 155; getsid 124 156; getpriority 140 141;
uname 63 160; sysinfo 99 179; time 201 -1; gettimeofday 96 169; clock_gettime 228 113; clock_getres 229 114;
clock_nanosleep 230 115; nanosleep 35 101; getitimer 36 102; setitimer 38 103; alarm 37 -1; pause 34 -1;
timer_create 222 107; timer_settime 223 110; timer_gettime 224 108; timer_delete 226 111; timer_getoverrun 225 109;
timerfd_create 283 85; timerfd_settime 286 86; timerfd_gettime 287 87; getrandom 318 278; restart_syscall 219 128;
capset 126 91; seccomp 317 277; pivot_root 155 41; openat2 437 437;
landlock_create_ruleset 444 444; landlock_add_rule 445 445; landlock_restrict_self 446 446
"""


def table(machine: str | None = None) -> dict[str, int]:
    """Name -> number on a machine (default: this one). OSError on an instruction set whose numbers are not known."""
    machine = machine or platform.machine()
    if machine not in AUDIT_ARCH:
        raise OSError(f"the sandbox knows the system calls of {', '.join(AUDIT_ARCH)}, not of {machine}")
    column = 1 + list(AUDIT_ARCH).index(machine)
    rows = (row.split() for row in _NUMBERS.replace("\n", " ").split(";"))
    return {row[0]: int(row[column]) for row in rows if int(row[column]) != _NONE}
