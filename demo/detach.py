"""Starts a program that outlives its starter: ``python demo/detach.py LOG PROGRAM ARGUMENT...`` prints its pid.

The program becomes the parent of its orphaned descendants, in the place of init. So whatever the stack ever started can
be found below it, even the server of a researcher whose Hub was killed. See prctl(2), PR_SET_CHILD_SUBREAPER.
"""

import ctypes
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Fork, print the child's pid, and leave; the child becomes the program."""
    log, *words = sys.argv[1:]
    pid = os.fork()
    if pid:
        print(pid)
        return
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.execv(words[0], words)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
