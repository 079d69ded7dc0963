"""Child: draw ``score.svg`` as ``score.png`` with resvg.

Arguments: the folder of the fonts, the zoom, and ``system`` to draw on the system's fonts too. The text font is STIX,
cut to the measures of Times, by which verovio and abcm2ps set text; DejaVu has what STIX lacks.
"""

from pathlib import Path

import resvg_py


def main(font_folder: str, zoom: str, which: str) -> None:
    """Draw it."""
    fonts = Path(font_folder)
    png = resvg_py.svg_to_bytes(
        svg_string=Path("score.svg").read_text(encoding="utf-8"),
        background="white",
        log_information=True,  # names the characters that no font has
        zoom=float(zoom),
        skip_system_fonts=which != "system",
        font_files=[str(path) for name in ("STIXGeneral", "DejaVu") for path in sorted(fonts.glob(f"{name}*.ttf"))],
        font_family="STIXGeneral",
        serif_family="STIXGeneral",
        sans_serif_family="DejaVu Sans",
        monospace_family="DejaVu Sans Mono",
    )
    Path("score.png").write_bytes(png)
