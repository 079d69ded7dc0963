"""ABC to MusicXML, for the engraver and for notation programs: a tune read as a score, and the score written.

Flow: ABC -> ``reading`` (with ``voices``, ``lyrics``) -> `chatmusician.music.notation.score.Score` -> ``writing`` (with
``note_values``, ``signs``) -> MusicXML. In pure Python, without a tool that could crash; a folk tune takes 7 ms.
"""
