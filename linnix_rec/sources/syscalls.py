"""Names of syscalls, and which of them a recording wants. Knows no event.

The tables are the UAPI headers' of Linux 6.18 (arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl):
neither BTF nor tracefs gives the numbers of all, and most hosts have no headers. Numbers never change their
meaning, so a newer kernel's further ones lack a name here, and are called by their number.
"""

import difflib
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from linnix_rec.capture.text import printable
from linnix_rec.errors import UsageError

#: Of a syscall table, at most (bpf_obj/syscalls.h: NUMBERS).
_NUMBERS: Final = 512

_SHARED: Final = {
    424: """
        pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount
        fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
        process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset
        landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv
        set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait
        futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal
        setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
        listns
    """,
}

_X86_64: Final = {
    0: """
        read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
        rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select
        sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep
        getitimer alarm setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg
        recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt clone
        fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv
        msgctl fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename
        mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown umask
        gettimeofday getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid
        geteuid getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups
        setresuid getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget capset
        rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod uselib
        personality ustat statfs fstatfs sysfs getpriority setpriority sched_setparam sched_getparam
        sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min
        sched_rr_get_interval mlock munlock mlockall munlockall vhangup modify_ldt pivot_root
        _sysctl prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday mount umount2
        swapon swapoff reboot sethostname setdomainname iopl ioperm create_module init_module
        delete_module get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg afs_syscall
        tuxcall security gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr
        listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr tkill time futex
        sched_setaffinity sched_getaffinity set_thread_area io_setup io_destroy io_getevents
        io_submit io_cancel get_thread_area lookup_dcookie epoll_create epoll_ctl_old epoll_wait_old
        remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64
        timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime
        clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes
        vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive
        mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl ioprio_set ioprio_get
        inotify_init inotify_add_watch inotify_rm_watch migrate_pages openat mkdirat mknodat
        fchownat futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat
        faccessat pselect6 ppoll unshare set_robust_list get_robust_list splice tee sync_file_range
        vmsplice move_pages utimensat epoll_pwait signalfd timerfd_create eventfd fallocate
        timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2
        inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init
        fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg
        setns getcpu process_vm_readv process_vm_writev kcmp finit_module sched_setattr
        sched_getattr renameat2 seccomp getrandom memfd_create kexec_file_load bpf execveat
        userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc
        pkey_free statx io_pgetevents rseq uretprobe uprobe
    """,
}

_ARM64: Final = {
    0: """
        io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr getxattr
        lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
        getcwd lookup_dcookie eventfd2 epoll_create1 epoll_ctl epoll_pwait dup dup3 fcntl
        inotify_init1 inotify_add_watch inotify_rm_watch ioctl ioprio_set ioprio_get flock mknodat
        mkdirat unlinkat symlinkat linkat renameat umount2 mount pivot_root nfsservctl statfs
        fstatfs truncate ftruncate fallocate faccessat chdir fchdir chroot fchmod fchmodat fchownat
        fchown openat close vhangup pipe2 quotactl getdents64 lseek read write readv writev pread64
        pwrite64 preadv pwritev sendfile pselect6 ppoll signalfd4 vmsplice splice tee readlinkat
        newfstatat fstat sync fsync fdatasync sync_file_range timerfd_create timerfd_settime
        timerfd_gettime utimensat acct capget capset personality exit exit_group waitid
        set_tid_address unshare futex set_robust_list get_robust_list nanosleep getitimer setitimer
        kexec_load init_module delete_module timer_create timer_gettime timer_getoverrun
        timer_settime timer_delete clock_settime clock_gettime clock_getres clock_nanosleep syslog
        ptrace sched_setparam sched_setscheduler sched_getscheduler sched_getparam sched_setaffinity
        sched_getaffinity sched_yield sched_get_priority_max sched_get_priority_min
        sched_rr_get_interval restart_syscall kill tkill tgkill sigaltstack rt_sigsuspend
        rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigreturn
        setpriority getpriority reboot setregid setgid setreuid setuid setresuid getresuid setresgid
        getresgid setfsuid setfsgid times setpgid getpgid getsid setsid getgroups setgroups uname
        sethostname setdomainname getrlimit setrlimit getrusage umask prctl getcpu gettimeofday
        settimeofday adjtimex getpid getppid getuid geteuid getgid getegid gettid sysinfo mq_open
        mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr msgget msgctl msgrcv msgsnd
        semget semctl semtimedop semop shmget shmctl shmat shmdt socket socketpair bind listen
        accept connect getsockname getpeername sendto recvfrom setsockopt getsockopt shutdown
        sendmsg recvmsg readahead brk munmap mremap add_key request_key keyctl clone execve mmap
        fadvise64 swapon swapoff mprotect msync mlock munlock mlockall munlockall mincore madvise
        remap_file_pages mbind get_mempolicy set_mempolicy migrate_pages move_pages
        rt_tgsigqueueinfo perf_event_open accept4 recvmmsg
    """,
    260: """
        wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at open_by_handle_at
        clock_adjtime syncfs setns sendmmsg process_vm_readv process_vm_writev kcmp finit_module
        sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create bpf execveat
        userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc
        pkey_free statx io_pgetevents rseq kexec_file_load
    """,
}

_TABLES: Final = {"x86_64": _X86_64, "aarch64": _ARM64}
#: execve and execveat of the 32-bit table beside the native one.
_COMPAT_EXECS: Final = {"x86_64": (11, 358), "aarch64": (11, 387)}


@dataclass(frozen=True)
class Events:
    """What is recorded besides forks, execs and exits.

    names: only these syscalls; empty for all of them, and those of 32-bit programs
    """

    syscalls: bool = False
    names: tuple[str, ...] = ()
    failed_execs: bool = False

    def __bool__(self) -> bool:
        return self.syscalls or self.failed_execs

    @property
    def asked(self) -> tuple[str, ...]:
        """As capture.json has it (`Filter.events`)."""
        listed = ["process"]
        if self.syscalls:
            listed.append("syscall:" + ",".join(self.names) if self.names else "syscall")
        if self.failed_execs:
            listed.append("failed-exec")
        return tuple(listed)


@cache
def syscall_names(machine: str) -> Mapping[int, str]:
    """The names of a machine's syscalls by their numbers, as `uname -m` calls it; none if it is unknown."""
    table = _TABLES.get(machine, {})
    parts = {**table, **_SHARED} if table else {}
    return {
        number: name
        for first, names in sorted(parts.items())
        for number, name in enumerate(names.split(), first)
    }


@cache
def syscall_numbers(machine: str) -> Mapping[str, int]:
    """The numbers of a machine's syscalls by their names."""
    return {name: number for number, name in syscall_names(machine).items()}


def parse_events(text: str, machine: str = "") -> Events:
    """Read `process,syscall[:NAME,...],failed-exec`; NAME may be `syscall_N`. Raises UsageError.

    What processes do is always recorded, named or not. Words behind `syscall:` are names until one is a kind.
    """
    machine = machine or platform.machine()
    syscalls = failed_execs = listing = False
    names: list[str] = []
    for word in text.split(","):
        head, colon, name = word.partition(":")
        if word in ("process", "syscall", "failed-exec"):
            listing = False
            syscalls |= word == "syscall"
            failed_execs |= word == "failed-exec"
        elif head == "syscall" and colon:
            syscalls = listing = True
            names.append(name)
        elif listing:
            names.append(word)
        else:
            raise UsageError(
                f"--events {printable(text)!r}: {printable(word)!r} is no kind of event: take process,"
                " syscall, syscall:NAME,... or failed-exec"
            )
    if (syscalls or failed_execs) and not syscall_names(machine):
        raise UsageError(f"--events: syscalls can be recorded on x86_64 and aarch64, not on {machine}")
    for name in names:
        _number(name, machine)
    return Events(syscalls, tuple(dict.fromkeys(names)), failed_execs)


def constants(events: Events, machine: str = "") -> dict[str, int | bytes]:
    """What the programs in bpf_obj/syscalls.h must know, by their variables' names."""
    machine = machine or platform.machine()
    numbers, compat_execs = syscall_numbers(machine), _COMPAT_EXECS[machine]
    wanted = sum(1 << _number(name, machine) for name in events.names)
    return {
        "with_syscalls": int(events.syscalls),
        "with_failed_execs": int(events.failed_execs),
        "all_syscalls": int(not events.names),
        "wanted_syscalls": wanted.to_bytes(_NUMBERS // 8, "little"),
        "execve_number": numbers["execve"],
        "execveat_number": numbers["execveat"],
        "compat_execve_number": compat_execs[0],
        "compat_execveat_number": compat_execs[1],
        "sigreturn_number": numbers["rt_sigreturn"],
    }


def _number(name: str, machine: str) -> int:
    number = syscall_numbers(machine).get(name)
    if number is not None:
        return number
    digits = name.removeprefix("syscall_")
    if digits != name and digits.isascii() and digits.isdigit() and int(digits) < _NUMBERS:
        return int(digits)
    near = difflib.get_close_matches(name, syscall_numbers(machine), 1)
    hint = f": did you mean {near[0]}?" if near else f"; a newer one is syscall_N, N below {_NUMBERS}"
    raise UsageError(f"--events: {machine} has no syscall {printable(name)!r}{hint}")
