"""First program of every child: lower this process's limits, then become the tool.

``python -I -S launch.py CPU_SECONDS MEMORY_BYTES FILE_BYTES TOOL [ARGUMENT...]``. The limits are set by the child on
itself, in an interpreter of its own: code between fork and exec (``preexec_fn``) can deadlock in a parent that has
threads, as a training process does, and ``prlimit`` from outside leaves a moment without limits and is Linux only.
"""

import os
import resource
import sys


def limit(kind: int, most: int, *, grace: int = 0) -> None:
    """Set the soft limit of one resource to ``most`` and the hard one to ``grace`` more; neither is ever raised.

    Past the soft limit of processor time a process gets SIGXCPU, past the hard one SIGKILL, which does not tell why;
    with both the same it may be either.
    """
    hard = resource.getrlimit(kind)[1]
    soft, hard = (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard) for wanted in (most, most + grace))
    resource.setrlimit(kind, (soft, hard))


if __name__ == "__main__":
    cpu_seconds, memory_bytes, file_bytes = map(int, sys.argv[1:4])
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, cpu_seconds, grace=1)
    limit(resource.RLIMIT_FSIZE, file_bytes)
    limit(resource.RLIMIT_AS, memory_bytes)
    os.execv(sys.argv[4], sys.argv[4:])
