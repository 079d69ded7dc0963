"""Scripts that run confined in a child process, each by its path: see `chatmusician.music.sandbox`.

Each reads and writes files in its working directory and imports nothing of ours, so that a child starts in the time
of its tool alone (the launcher in 20 ms, verovio in 160 ms, measured with ``time python -I -c "import verovio"``).
"""
