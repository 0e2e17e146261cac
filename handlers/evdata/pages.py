"""A page of rows on its way from the source: gzip taken apart, records counted, header and `:id`s read as bytes pass.

Nothing here holds more than the piece at hand and the beginning of a line, however large a page or a value is.
"""

import csv
import zlib
from array import array
from collections.abc import Sequence
from typing import Final

LONGEST_LINE_START: Final = 1 << 16  # bytes of an unfinished line that are kept: more than any header has


class PageError(Exception):
    """The bytes are no page of rows: a broken gzip stream, or a record without `:id`."""


class HeaderError(PageError):
    """The header is not the selection's. `beginning` is what the answer begins with, to see what it is instead."""

    def __init__(self, what: str, beginning: bytes) -> None:
        super().__init__(what)
        self.beginning = beginning


class Inflater:
    """Decompresses gzip in pieces of any size: any number of members, zero bytes between and after them.

    As `gzip.decompress` does; what else follows a member is an error. https://www.rfc-editor.org/rfc/rfc1952#page-5
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._begun = False

    def feed(self, piece: bytes) -> bytes:
        """Return what a piece decompresses to. Raises `PageError` when it is not gzip."""
        inflated = []
        while piece:
            if self._member.eof:
                piece = piece.lstrip(b"\0")
                if not piece:
                    break
                self._member = zlib.decompressobj(wbits=31)
            self._begun = True
            try:
                inflated.append(self._member.decompress(piece))
            except zlib.error as error:
                raise PageError(f"a broken gzip stream ({error})") from error
            piece = self._member.unused_data
        return b"".join(inflated)

    @property
    def whole(self) -> bool:
        """Whether the last member ended with its trailer."""
        return self._begun and self._member.eof


def inflate(content: bytes) -> bytes:
    """Return gzip-compressed content whole. Raises `PageError` by the rules of `Inflater`."""
    inflater = Inflater()
    inflated = inflater.feed(content)
    if not inflater.whole:
        raise PageError("a gzip stream that ends early")
    return inflated


class RowReader:
    """Reads CSV as bytes pass: counts records (line ends outside quotes), checks the header, hashes each row's `:id`.

    `headings` are the names that each column may be headed by, its field name first; the first column is
    `:id`. Feed it pieces of any size.
    """

    def __init__(self, headings: Sequence[tuple[str, ...]]) -> None:
        self._headings = headings
        self._start = b""  # of the line that has not ended
        self._cut_quotes = 0  # how many quotes of that line are no longer in it, modulo 2
        self._quoted = False  # whether that line begins within quotes
        self._header_read = False
        self.rows = 0
        self.ids = array("q")

    def feed(self, piece: bytes) -> None:
        """Raises `HeaderError` or `PageError` as soon as the bytes cannot be rows of the selection."""
        start, ended, rest = (self._start + piece).rpartition(b"\n")
        if ended:
            rows = start if self._header_read else self._read_header(start)
            if rows is not None:
                self._read(rows)
            self._cut_quotes = 0
        self._start = rest
        if len(rest) > LONGEST_LINE_START:
            self._cut_quotes ^= rest.count(b'"', LONGEST_LINE_START) & 1
            self._start = rest[:LONGEST_LINE_START]

    def finish(self) -> None:
        """Raises `PageError` unless there was a header and the last record ended."""
        if not self._header_read:
            raise HeaderError("no header line" if self._start else "nothing", self._start)
        if self._start or self._quoted:
            raise PageError(f"a page cut within row {self.rows + 1}")

    def _read_header(self, lines: bytes) -> bytes | None:
        """Check the first line; return the lines after it, or None when there are none."""
        line, more, rest = lines.partition(b"\n")
        try:
            header = next(csv.reader([line.decode("utf-8-sig")]), [])
        except (csv.Error, UnicodeDecodeError):
            header = []
        if differs := self._differing(header):
            raise HeaderError(differs, lines)
        self._header_read = True
        return rest if more else None

    def _differing(self, header: list[str]) -> str:
        """Return in words how a header differs from the selection, or nothing."""
        matches = (name in names for name, names in zip(header, self._headings, strict=False))
        if len(header) == len(self._headings) and all(matches):
            return ""
        lacking = [names[0] for names in self._headings if not set(names) & set(header)]
        known = {name for names in self._headings for name in names}
        beside = [name for name in header if name not in known]
        said = [f"lacks {', '.join(lacking)}"] if lacking else []
        said += [f"has {', '.join(map(repr, beside))[:200]} besides"] if beside else []
        return f"a header that {' and '.join(said) or 'has the columns in another order, or one twice'}"

    def _read(self, lines: bytes) -> None:
        """Take whole lines. A line is a row, unless a value goes on in the next one."""
        if not self._quoted:
            # A quote within a value is doubled. So a line that begins with a single quote begins a row, unless that
            # quote ends a value whose last character is a line break: a comma or the line's end follows it then. Where
            # all lines begin a row, and the last one ends its own, no value holds a line break. Socrata quotes every
            # value, so this is the usual case.
            whole = b"\n" + lines
            begun = whole.split(b'\n"')
            last_quotes = begun[-1].count(b'"') + 1 + (self._cut_quotes if len(begun) == 2 else 0)
            all_begin = not begun[0] and len(begun) == lines.count(b"\n") + 2 and b'\n",' not in whole
            if all_begin and not last_quotes & 1:
                ids = [row[: row.find(b'"')] for row in begun[1:]]
                if b"" not in ids:
                    self._add(ids)
                    return
        ids = []
        cut_quotes = self._cut_quotes
        for line in lines.split(b"\n"):
            if not self._quoted:
                ids.append(line.partition(b",")[0].strip(b'"\r'))
            if (line.count(b'"') + cut_quotes) & 1:
                self._quoted = not self._quoted
            cut_quotes = 0
        if b"" in ids:
            raise PageError(f"row {self.rows + ids.index(b'') + 1} without :id")
        self._add(ids)

    def _add(self, ids: list[bytes]) -> None:
        self.rows += len(ids)
        self.ids.extend(map(hash, ids))
