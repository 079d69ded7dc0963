"""Tunes held to the rules of ABC while they are written: ``generation.constraint=syntax`` or ``bars``.

Flow: a character -> ``answers`` (prose, or a tune in it) -> ``tunes`` (header, voices) -> ``music`` (one bar, with
``notes``, ``texts``, ``bar_lines``; time is in ``clock``, where a bar may be closed in ``sections``) -> the next state;
a state and the ``vocabulary`` -> ``choices`` (which tokens may come) -> ``followers`` (the masks of a batch).

What is accepted is what `chatmusician.music.checks` accepts, read forward, as far as that can be done.
"""
