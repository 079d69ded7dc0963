"""Shapes of SVG as operators of PDF: path data, polygons, ellipses, transformations."""

import math
import re
from collections.abc import Iterator, Sequence

Matrix = tuple[float, float, float, float, float, float]
"""``a b c d e f`` as both SVG and PDF have it: x' = a x + c y + e, y' = b x + d y + f."""

_STEP = re.compile(r"[A-Za-z]|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_FUNCTION = re.compile(r"([a-z]+)\(([^)]*)\)")
_ARGUMENTS = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}
_ROUND = 0.5522847498  # of a quarter of a circle drawn as a curve: how far its handles reach


def number(value: float) -> str:
    """A number as PDF has it, without an exponent.

    >>> number(3.0), number(0.123456), number(-0.00001)
    ('3', '0.1235', '0')
    """
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def operator(name: str, *values: float) -> str:
    """An operator after its operands."""
    return " ".join([*map(number, values), name])


def transformations(text: str) -> Iterator[Matrix]:
    """The functions of a ``transform`` attribute, in the order in which a PDF multiplies them.

    Raises:
        ValueError: one of them is none of translate, scale, rotate, matrix.
    """
    for name, arguments in _FUNCTION.findall(text):
        values = [float(value) for value in re.split(r"[\s,]+", arguments.strip())]
        if name == "translate":
            yield 1, 0, 0, 1, values[0], values[1] if len(values) > 1 else 0
        elif name == "scale":
            yield values[0], 0, 0, values[-1], 0, 0
        elif name == "rotate":
            sine, cosine = math.sin(math.radians(values[0])), math.cos(math.radians(values[0]))
            x, y = values[1:] or (0.0, 0.0)
            yield cosine, sine, -sine, cosine, x - cosine * x + sine * y, y - sine * x - cosine * y
        elif name == "matrix":
            a, b, c, d, e, f = values
            yield a, b, c, d, e, f
        else:
            raise ValueError(f"the transformation {name!r} is not known")


def polygon(points: str, *, closed: bool) -> str:
    """The shape of a polygon or polyline."""
    values = [float(value) for value in re.split(r"[\s,]+", points.strip())]
    steps = [operator("l" if place else "m", *values[place : place + 2]) for place in range(0, len(values) - 1, 2)]
    return " ".join([*steps, "h"] if closed else steps)


def ellipse(x: float, y: float, rx: float, ry: float) -> str:
    """The shape of an ellipse, by four curves."""
    across, along = _ROUND * rx, _ROUND * ry
    return " ".join(
        [
            operator("m", x + rx, y),
            operator("c", x + rx, y + along, x + across, y + ry, x, y + ry),
            operator("c", x - across, y + ry, x - rx, y + along, x - rx, y),
            operator("c", x - rx, y - along, x - across, y - ry, x, y - ry),
            operator("c", x + across, y - ry, x + rx, y - along, x + rx, y),
            "h",
        ]
    )


def path(data: str) -> str:
    """The shape that the ``d`` attribute of a path describes; all of SVG but its arcs.

    Raises:
        ValueError: it has a command that is not known.
    """
    pen = _Pen()
    command = ""
    values: list[float] = []
    for step in _STEP.findall(data):
        if step.isalpha():
            command, values = step, []
            if command.upper() not in _ARGUMENTS:
                raise ValueError(f"the path command {command!r} is not known")
            if command in "Zz":
                pen.close()
        else:
            values.append(float(step))
            if len(values) == _ARGUMENTS.get(command.upper(), 0):
                pen.draw(command, values)
                command = {"M": "L", "m": "l"}.get(command, command)  # what pairs after the first mean
                values = []
    return " ".join(pen.operators)


class _Pen:
    """Follows the commands of a path; all that it writes is absolute."""

    def __init__(self) -> None:
        self.operators: list[str] = []
        self._x = self._y = 0.0
        self._start = (0.0, 0.0)
        self._handle: tuple[float, float] | None = None  # of the curve before, for those that go on smoothly
        self._kind = ""

    def close(self) -> None:
        self.operators.append("h")
        self._x, self._y = self._start
        self._kind = "Z"

    def draw(self, command: str, values: Sequence[float]) -> None:
        """One command with its numbers."""
        kind = command.upper()
        x, y = (self._x, self._y) if command.islower() else (0.0, 0.0)
        if kind in "HV":
            end = (x + values[0], self._y) if kind == "H" else (self._x, y + values[0])
            points = [end]
        else:
            points = [(x + values[place], y + values[place + 1]) for place in range(0, len(values), 2)]
        if kind in "CSQT":
            self._curve(kind, points)
        else:
            self.operators.append(operator("m" if kind == "M" else "l", *points[-1]))
        self._x, self._y = points[-1]
        self._kind = kind
        if kind == "M":
            self._start = points[-1]

    def _curve(self, kind: str, points: list[tuple[float, float]]) -> None:
        here = self._x, self._y
        if kind in "ST":  # the first handle mirrors the last of the curve before, if that was of the same sort
            smooth = self._handle is not None and self._kind in ("CS" if kind == "S" else "QT")
            hx, hy = self._handle if smooth and self._handle else here
            points.insert(0, (2 * here[0] - hx, 2 * here[1] - hy))
        self._handle = points[-2]
        if len(points) == 2:  # one handle: both handles of the cubic curve are two thirds of the way to it
            (qx, qy), (ex, ey) = points
            points[:1] = [
                (here[0] + 2 / 3 * (qx - here[0]), here[1] + 2 / 3 * (qy - here[1])),
                (ex + 2 / 3 * (qx - ex), ey + 2 / 3 * (qy - ey)),
            ]
        self.operators.append(operator("c", *[value for point in points for value in point]))
