"""Limits for a researcher's processes on this machine, set in the moment before her server starts.

The operating system keeps them for that process and all that it starts, and takes no more than root to raise them.
"""

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessLimits"]

_FIRST_TO_GO = 500  # of 1000; the hub, the gateway and the database stand at 0


@dataclass(frozen=True)
class ProcessLimits:
    """What one researcher's processes may use.

    Attributes
    ----------
    memory : int
        Bytes of each process's own (heap, stacks, private mappings; not files mapped to be read, not shared memory);
        0: no limit. Who asks for more gets a `MemoryError`.
    processes : int
        Processes and threads of her system user, all servers together; 0: no limit. Left out where servers run as the
        hub's own user: it would count the hub's threads, too.
    open_files : int
        Open files of each process; 0: no limit.
    nice : int
        How far her processes stand back when others need the processor, 0 to 19.
    """

    memory: int = 0
    processes: int = 0
    open_files: int = 0
    nice: int = 0

    def apply(self) -> None:
        """Set the limits for the calling process, for good.

        Raises
        ------
        OSError
            If the operating system refuses.
        """
        _lower(resource.RLIMIT_DATA, self.memory)
        _lower(resource.RLIMIT_NPROC, self.processes)
        _lower(resource.RLIMIT_NOFILE, self.open_files)
        # The memory of a process that crashed holds images and the token: it must not lie around as a file.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.setpriority(os.PRIO_PROCESS, 0, max(self.nice, os.getpriority(os.PRIO_PROCESS, 0)))
        # When the whole machine is out of memory, the kernel ends one of these before anything that all depend on.
        with contextlib.suppress(OSError):  # in some containers nobody may write it
            Path("/proc/self/oom_score_adj").write_text(str(_FIRST_TO_GO))


def _lower(what: int, most: int) -> None:
    """Set a limit that only root can raise; a lower one that is there already stays."""
    if most <= 0:
        return
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))
