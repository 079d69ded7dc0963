"""Music in ABC notation: reading, checking, labelling and transposing tunes; engraving and playing them in a sandbox.

The notation half (``tunes``, ``lexer``, ``keys``, ``bars``, ``checks``, ``pitches``, ``transposition``, ``form``,
``motif``, ``harmony``, ``musicxml``, ``extraction``) is pure Python without dependencies. The package is below all
others of ours: it imports nothing but `chatmusician.errors`.
"""
