"""What runs in child processes: the parent that forks them, what confines them, and a script a tool.

A script reads and writes files in its working directory, gets the rest as arguments of its function ``main``, and
imports its tool when it is imported itself, which its parent does once. See `chatmusician.music.sandbox`.
"""
