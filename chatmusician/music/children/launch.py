"""First program of every child: lower this process's limits, then become the tool.

``python -I -S launch.py CPU_SECONDS MEMORY_BYTES FILE_BYTES TOOL [ARGUMENT...]``. The limits are set by the child on
itself, in an interpreter of its own: code between fork and exec (``preexec_fn``) can deadlock in a parent that has
threads, as a training process does, and ``prlimit`` from outside leaves a moment without limits and is Linux only.
"""

import os
import resource
import sys


def limit(kind: int, most: int) -> None:
    """Set the soft and hard limit of one resource to ``most``, or leave the hard limit there already if it is lower."""
    hard = resource.getrlimit(kind)[1]
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (allowed, allowed))


if __name__ == "__main__":
    cpu_seconds, memory_bytes, file_bytes = map(int, sys.argv[1:4])
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, cpu_seconds)
    limit(resource.RLIMIT_FSIZE, file_bytes)
    limit(resource.RLIMIT_AS, memory_bytes)
    os.execv(sys.argv[4], sys.argv[4:])
