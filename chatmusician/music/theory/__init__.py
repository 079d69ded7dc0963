"""Music theory: spelled pitches, scales, chords, note values, and multiple-choice questions about them.

``questions`` is the way in; ``spelling``, ``scales``, ``chords`` and ``values`` are the rules that answers are computed
by; ``topics`` has a module of questions for each field.
"""
