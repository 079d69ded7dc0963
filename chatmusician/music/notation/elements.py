"""XML elements, written briefly."""

import re
from xml.etree.ElementTree import Element, SubElement

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def add(parent: Element, tag: str, text: str | int = "", **attributes: str) -> Element:
    """Add an element to its parent; underscores in the names of attributes stand for hyphens.

    Characters that XML cannot have are left out.
    """
    element = SubElement(parent, tag, {name.replace("_", "-"): _legal(value) for name, value in attributes.items()})
    if text != "":
        element.text = _legal(str(text))
    return element


def _legal(text: str) -> str:
    return _NOT_XML.sub("", text)
