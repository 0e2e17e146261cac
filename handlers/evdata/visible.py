"""Text from outside, made safe to show: what a terminal, a mail client or a browser would obey is written out."""

import json


def visible(text: str) -> str:
    r"""Return text in one line, with every character that is not printable as an escape such as \x1b or \u202e.

    Not printable are control and format characters (escape sequences, bidirectional marks), line and paragraph
    separators, spaces other than the usual one, and what is no character: https://docs.python.org/3.12/library/stdtypes.html#str.isprintable
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def visible_lines(text: str) -> str:
    """Return text as `visible` does, line by line: for messages of our own, whose line breaks are meant."""
    return "\n".join(map(visible, text.split("\n")))


def visible_json(document: object) -> str:
    """Return JSON in one line that is exact to what reads it and safe to show: all that is not ASCII is escaped."""
    return json.dumps(document, default=str).replace("\x7f", "\\u007f")
