"""The child's first step: drop root, tie this life to the parent's, become the server.

Run by path as `python -I -S launch.py PARENT_PID UID GID PROGRAM [ARGUMENT ...]`, UID -1 meaning
"stay who you are". It is a program and not a `preexec_fn` because the parent has threads, and
code between fork and exec of a threaded process may find a lock held for ever.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def drop_root(uid: int, gid: int) -> None:
    """Become `uid`, in group `gid` and no other."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def stop_with_parent(parent: int) -> None:
    """Have the kernel send SIGINT, PostgreSQL's fast shutdown, when the parent dies (Linux).

    After dropping root: a change of credentials clears the wish (prctl(2)). Elsewhere the server
    outlives a killed proxy.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != parent:  # it died before the wish was made
        sys.exit(1)


def main(parent: str, uid: str, gid: str, *command: str) -> None:
    """Replace this process by `command`."""
    if int(uid) >= 0:
        drop_root(int(uid), int(gid))
    stop_with_parent(int(parent))
    os.umask(0o077)
    os.execv(command[0], command)  # noqa: S606  # our own program, no shell


if __name__ == "__main__":
    main(*sys.argv[1:])
