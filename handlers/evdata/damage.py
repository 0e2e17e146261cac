"""What happened to a file that is not the CSV it should be, or to a value in it: named, so that nobody has to guess.

Spreadsheets and other programs change what they save. What is certain is read all the same (see `SourceColumn.read`);
what is lost is refused in words. Pure: bytes and texts in, words out.
"""

import codecs
import re
from dataclasses import dataclass
from typing import Final

DOWNLOAD_AGAIN: Final = "download it again as CSV"
BY_SPREADSHEET: Final = "saved by a spreadsheet"


@dataclass(frozen=True, slots=True)
class Damage:
    """`what` follows the file's name ("is a zip archive"), `remedy` follows that ("unpack it")."""

    what: str
    remedy: str = DOWNLOAD_AGAIN


_UNPACK: Final = "unpack it and give the CSV file in it"
_SAVE_AS_CSV: Final = f"{DOWNLOAD_AGAIN}, or save it as 'CSV UTF-8 (comma delimited)'"

# First bytes: https://en.wikipedia.org/wiki/List_of_file_signatures
_SIGNATURES: Final = (
    (b"\x1f\x8b", Damage("is compressed with gzip more than once", _UNPACK)),
    (b"BZh", Damage("is a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ\0", Damage("is an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Damage("is a Zstandard archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Damage("is a 7z archive", _UNPACK)),
    (b"\xd0\xcf\x11\xe0", Damage("is a spreadsheet's workbook, not CSV", _SAVE_AS_CSV)),
    (b"PAR1", Damage("is a Parquet file")),
    (b"%PDF-", Damage("is a PDF document")),
)
_WORKBOOKS: Final = (b"[Content_Types].xml", b"mimetypeapplication/vnd.oasis")
_BOMS: Final = (  # UTF-32's first, as UTF-16's begins alike
    *((mark, "UTF-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "UTF-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FIRST_BYTES: Final = 1 << 16


def of_file(content: bytes) -> Damage | None:
    """Return why a file cannot be CSV in UTF-8 with commas, as far as its beginning tells, or None."""
    start = content[:_FIRST_BYTES]
    if packed := _packed(start):
        return packed
    if encoding := _wide_encoding(start):
        return Damage(f"is in {encoding}, not in UTF-8, from line 1 on", _SAVE_AS_CSV)
    if (nul := content.find(0)) >= 0:
        return Damage(f"is not text: line {_line(content, nul)} has a NUL character")
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    for mark, name in ((b"<", "HTML or XML"), (b"{", "JSON"), (b"[", "JSON")):
        if text.startswith(mark):
            return Damage(f"is {name}, not CSV")
    return _separator(text.decode(errors="replace").splitlines()[0]) if text else None


def of_encoding(content: bytes) -> Damage | None:
    """Return where a file's first byte stands that is not UTF-8, and what the file is instead, or None."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        where = f"the first byte that is not is 0x{content[error.start]:02X} in line {_line(content, error.start)}"
        if content.decode(errors="ignore").isascii() and _is_windows_1252(content):
            return Damage(f"is in Windows-1252 (cp1252) or the like, not in UTF-8: {where}", _SAVE_AS_CSV)
        return Damage(f"is not UTF-8 throughout: {where}", _SAVE_AS_CSV)
    return None


def of_text(value: str) -> str | None:
    """Return what a spreadsheet certainly did to a value of any column, or None."""
    if not value.startswith(("=", "#")):
        return None
    if re.fullmatch(r'=".*"', value, re.DOTALL):
        return f"{BY_SPREADSHEET} as a formula"
    if re.fullmatch(r"#(?:REF!|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|#{2,})", value):
        return f"{BY_SPREADSHEET} as an error"
    return None


def of_number(value: str) -> str | None:
    """Return what a spreadsheet did to a number that a column's rule refuses, or None."""
    if re.fullmatch(r"[0-9](?:[.,][0-9]+)?[Ee]\+?[0-9]{1,3}", value):
        return f"{BY_SPREADSHEET} as a rounded number: its digits are lost"
    if re.fullmatch(r"[0-9]{1,3}(?:[, '\u2019\u00a0\u202f][0-9]{3})+(?:\.0*)?", value):
        return f"{BY_SPREADSHEET} with its digits in groups"
    return None


def _packed(start: bytes) -> Damage | None:
    """Return of which kind an archive or a binary document is."""
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        is_workbook = any(mark in start for mark in _WORKBOOKS)
        return (
            Damage("is a spreadsheet's workbook, not CSV", _SAVE_AS_CSV)
            if is_workbook
            else Damage("is a zip archive", _UNPACK)
        )
    return next((damage for signature, damage in _SIGNATURES if start.startswith(signature)), None)


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _wide_encoding(start: bytes) -> str | None:
    """Return UTF-16 or UTF-32 where the first bytes are such, with a byte order mark or without."""
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    sample = start[:64]
    every_other = {sample[0::2].count(0), sample[1::2].count(0)}
    return "UTF-16" if len(sample) > 3 and 0 in every_other and max(every_other) > len(sample) // 4 else None


def _is_windows_1252(content: bytes) -> bool:
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return True


def _separator(line: str) -> Damage | None:
    """Return which separator the heading has in place of commas, if it has."""
    if told := re.fullmatch(r'"?sep=(.)"?', line.strip(), re.IGNORECASE):
        return Damage(f"begins with 'sep={told[1]}' in line 1, a note between spreadsheets", _SAVE_AS_CSV)
    commas = line.count(",")
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > commas:
            return Damage(
                f"has {name} between its columns, not commas, from line 1 on",
                f"{DOWNLOAD_AGAIN}, or export it with commas: this file was saved by a spreadsheet or another program",
            )
    return None
