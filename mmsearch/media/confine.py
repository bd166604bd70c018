"""What a process that decodes gives up before it sees a stranger's file: the network, other programs, files by name.

Two system calls of Linux that any user may make, by ctypes: no package for them is kept as well as these few lines can
be read. Where a kernel lacks one, the others still hold, and `mmsearch doctor` says which are on.

    no new privileges   nothing that it starts could gain rights (prctl)
    Landlock            no file can be opened, made or removed by name, no TCP port bound or reached (Linux 5.13; 6.7)
    seccomp             of 400 system calls those of `_CALLS` are left: it can compute, read and write what is open, and
                        start threads (x86-64, aarch64)
    namespaces          a user without rights in a network without devices, where the system lets users make them
    limits              no file can grow, few are open, few threads; see also `worker`

Everything that a decoder imports must be imported before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterator

THREADS = 256
"""At most so many in a user namespace; FFmpeg takes one a core."""

DESCRIPTORS = 64

CPU_S = 12 * 3600
"""Seconds of processor time of a process in all, when nobody watches it any more. `sandbox` ends it long before."""

_NO_NEW_PRIVS, _PR_SET_NAME, _SET_FILTER, _TSYNC = 38, 15, 1, 1
_NEW_USER, _NEW_NET, _NEW_IPC = 0x1000_0000, 0x4000_0000, 0x0800_0000
_LANDLOCK = 444, 446
"""Numbers of landlock_create_ruleset and landlock_restrict_self, on every architecture."""
_ACCESS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"""By version, all rights over files that Landlock can take."""

_SECCOMP = {"x86_64": (317, 0xC000_003E), "aarch64": (277, 0xC000_00B7)}
"""The number of seccomp, and the architecture as a filter sees it."""

_CALLS = {
    name: numbers
    for name, *numbers in (
        line.split()
        for line in """
        read 0 63|write 1 64|close 3 57|fstat 5 80|poll 7 -|lseek 8 62|mmap 9 222|mprotect 10 226|munmap 11 215
        brk 12 214|rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|pread64 17 67|readv 19 65
        writev 20 66|select 23 -|sched_yield 24 124|mremap 25 216|madvise 28 233|dup 32 23|nanosleep 35 101
        getitimer 36 102|setitimer 38 103|getpid 39 172|recvfrom 45 207|recvmsg 47 212|exit 60 93|flock 73 32
        gettimeofday 96 169|getrusage 98 165|sysinfo 99 179|getuid 102 174|getgid 104 176|geteuid 107 175
        getegid 108 177|sigaltstack 131 132|gettid 186 178|futex 202 98|sched_getaffinity 204 123
        set_tid_address 218 96|restart_syscall 219 128|clock_gettime 228 113|clock_getres 229 114
        clock_nanosleep 230 115|exit_group 231 94|pselect6 270 72|ppoll 271 73|set_robust_list 273 99
        getrandom 318 278|rseq 334 293
        """.replace("\n", "|").split("|")
        if line.strip()
    )
}
"""What is allowed whatever its arguments, with its numbers on x86-64 and aarch64."""

_JUDGED = {"clone": (56, 220), "clone3": (435, 435), "newfstatat": (262, 79), "prctl": (157, 167), "fcntl": (72, 25)}
_JUDGED |= {"kill": (62, 129), "tgkill": (234, 131)}

_CLONE_THREAD, _AT_EMPTY_PATH = 0x1_0000, 0x1000
_FCNTL = (1, 2, 3, 4, 5, 6, 7, 1030)
"""Flags, locks and copies of a descriptor; not its owner, which would be sent signals."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF_0000, 0x0005_0001, 0x0005_0026
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


def confine(*, writes: bool = False) -> list[str]:
    """Give up what this system can take, and say what that was. ``writes``: files that are open may grow.

    Only this thread may be running, for all to hold.
    """
    _limit(writes)
    return ["limits", *(name for name, step in _STEPS if _done(step))]


def _done(step: object) -> bool:
    try:
        step()  # type: ignore[operator]
    except (OSError, AttributeError, KeyError, NotImplementedError):
        return False
    return True


def _call(number: int, *arguments: object) -> int:
    """A system call by its number. Raises ``OSError``."""
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _libc() -> ctypes.CDLL:
    if platform.system() != "Linux":
        raise NotImplementedError
    return ctypes.CDLL(None, use_errno=True)


def _no_new_privileges() -> None:
    if _libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _namespaces() -> None:
    if _libc().unshare(_NEW_USER | _NEW_NET | _NEW_IPC):
        raise OSError(ctypes.get_errno(), "unshare")
    # In a namespace of its own the limit counts this process alone, not all that the user runs.
    resource.setrlimit(resource.RLIMIT_NPROC, (THREADS, THREADS))


def _landlock() -> None:
    create, restrict = _LANDLOCK
    version = _call(create, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    ports, signals = 3 if version >= 4 else 0, 3 if version >= 6 else 0
    rules = struct.pack("=QQQ", _ACCESS[min(version, max(_ACCESS))], ports, signals)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(create, ctypes.c_char_p(rules), ctypes.c_size_t(size), ctypes.c_uint(0))
    try:
        _call(restrict, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)


def _seccomp() -> None:
    number, architecture = _SECCOMP[platform.machine()]
    which = list(_SECCOMP).index(platform.machine())
    code = b"".join(_filter(which, architecture))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    _call(number, ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_TSYNC), ctypes.c_char_p(program))


def _filter(which: int, architecture: int) -> Iterator[bytes]:
    """A program of the kernel's packet filter, an instruction at a time. What it does not allow fails with EPERM."""
    numbers = [int(known[which]) for known in _CALLS.values() if known[which] != "-"]
    judged = {name: known[which] for name, known in _JUDGED.items()}
    yield _instruction(_LOAD, _ARCHITECTURE)
    yield _instruction(_EQUAL, architecture, 1, 0)
    yield _instruction(_RETURN, _EPERM)
    yield _instruction(_LOAD, _NUMBER)
    for number in numbers:
        yield from (_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _ALLOW))
    # A C library without clone3 uses clone, whose flags can be looked at.
    yield from (_instruction(_EQUAL, judged["clone3"], 0, 1), _instruction(_RETURN, _ENOSYS))
    yield from _judge(judged["clone"], 0, _ANY_BIT, (_CLONE_THREAD,))
    yield from _judge(judged["newfstatat"], 3, _ANY_BIT, (_AT_EMPTY_PATH,))  # how some libraries call fstat
    yield from _judge(judged["prctl"], 0, _EQUAL, (_PR_SET_NAME,))
    yield from _judge(judged["fcntl"], 1, _EQUAL, _FCNTL)
    yield from _judge(judged["kill"], 0, _EQUAL, (os.getpid(),))
    yield from _judge(judged["tgkill"], 0, _EQUAL, (os.getpid(),))
    yield _instruction(_RETURN, _EPERM)


def _judge(number: int, argument: int, test: int, values: tuple[int, ...]) -> Iterator[bytes]:
    """Allow this call if the low half of an argument is one of ``values`` (or has one of these bits)."""
    yield _instruction(_EQUAL, number, 0, 2 + 2 * len(values))
    yield _instruction(_LOAD, _ARGUMENTS + 8 * argument)
    for value in values:
        yield from (_instruction(test, value, 0, 1), _instruction(_RETURN, _ALLOW))
    yield _instruction(_RETURN, _EPERM)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _limit(writes: bool) -> None:
    wanted = {"CORE": 0, "NOFILE": DESCRIPTORS, "CPU": CPU_S} | ({} if writes else {"FSIZE": 0})
    for name, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # not every system has each
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


_STEPS = (
    ("no new privileges", _no_new_privileges),
    ("namespaces", _namespaces),
    ("Landlock", _landlock),
    ("seccomp", _seccomp),
)
