"""Signs around the notes: decorations of ABC (2.1, section 4.14) as MusicXML has them."""

ARTICULATIONS = {
    "staccato": "staccato",
    "accent": "accent",
    ">": "accent",
    "emphasis": "accent",
    "tenuto": "tenuto",
    "wedge": "staccatissimo",
    "breath": "breath-mark",
    "slide": "scoop",
}
ORNAMENTS = {
    "trill": "trill-mark",
    "roll": "turn",
    "turn": "turn",
    "invertedturn": "inverted-turn",
    "lowermordent": "mordent",
    "mordent": "mordent",
    "uppermordent": "inverted-mordent",
    "pralltriller": "inverted-mordent",
}
TECHNICAL = {
    "upbow": "up-bow",
    "downbow": "down-bow",
    "open": "open-string",
    "thumb": "thumb-position",
    "snap": "snap-pizzicato",
    "plus": "stopped",
    "+": "stopped",
}
FINGERS = frozenset("012345")
DYNAMICS = frozenset({"pppp", "ppp", "pp", "p", "mp", "mf", "f", "ff", "fff", "ffff", "sfz"})
WEDGES = {
    "crescendo(": "crescendo",
    "<(": "crescendo",
    "diminuendo(": "diminuendo",
    ">(": "diminuendo",
    "crescendo)": "stop",
    "<)": "stop",
    "diminuendo)": "stop",
    ">)": "stop",
}
JUMPS = {"D.C.": "D.C.", "D.S.": "D.S.", "dacapo": "D.C.", "dacoda": "To Coda", "fine": "Fine"}
"""Words above the staff that send the player elsewhere."""
OTHERS = frozenset({"fermata", "invertedfermata", "arpeggio", "segno", "coda"})
KNOWN = FINGERS | DYNAMICS | OTHERS | {*ARTICULATIONS, *ORNAMENTS, *TECHNICAL, *WEDGES, *JUMPS}
"""All decorations that the score has a sign for."""
