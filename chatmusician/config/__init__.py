"""Configuration: from the words on the command line to a config that is known to be sound.

::

    entry        ``@command("train")`` around the body of a command
    failures     how it ends: one line and an exit status
    help         the text of ``--help``
    composition  overrides and recipes are composed by Hydra, every mistake in them is collected
    sweeps       the same for the jobs of a --multirun, before the first starts
    sweep_jobs   each of those jobs, under any launcher, and what is said at the end
    launching    a job's processes: starts them, passes signals on, finds the first error
    ranks        how many they are, and which of them this one is
    outcomes     what such a process tells the one that started it
    overrides    the words of the command line, each checked by itself
    validation   every node with ``_target_`` is held against the signature of its target
    signatures   which reads that signature from source, importing nothing
    definitions  which finds the class or function behind a dotted path
    modules      which finds the file behind a module
    recipes      experiments/NAME.yaml becomes the option NAME of the group ``experiment``
    origins      names the file and line that set a key, for the messages
    paths        where conf/ and experiments/ are (checkout, editable install or wheel)
    problems     what is wrong, and the exception that carries all of it

Nothing here imports torch, Lightning or any other heavy package, so that ``--help``, ``--cfg job`` and a refused config
answer in about a second.
"""
