"""What this machine has and what a recipe needs: ``python -m chatmusician.doctor``.

::

    command        runs the checks side by side, prints them, and tells by its status whether the basics work
    findings       what a check says: found or not, and the remedy
    packages       Python, required packages by their bounds, optional ones with what they are for
    resources      cores, memory and disk that this process may use, by affinity and control groups
    torch_probes   a child process that tries products, GPUs, gloo and NCCL, each in a fork that may crash
    computing      what it found, in words
    building       compilers, and DeepSpeed's operations
    music_tools    a tune really converted, engraved and played
    surroundings   disk, limits, the Hub, Weights & Biases
    printing       tables for a terminal, lines for a pipe
    recipe         whether a training recipe fits here

Whatever may crash or hang runs in a child with a time limit. Nothing here imports torch but the child and `recipe`.
"""
