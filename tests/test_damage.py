"""What spreadsheets and other programs do to files and values: named, with the line and the way out."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Final

import pytest

from evdata import damage
from evdata.dataset import DATASET
from evdata.errors import DriftError, SourceError
from evdata.transform import clean_part
from local.errors import LocalError
from local.snapshot import Snapshot
from tests.test_transform import VEHICLE, as_csv, loaded, vehicle

HEADINGS: Final = {column.field: column.display for column in DATASET.source_columns}


def export(*rows: dict[str, str]) -> bytes:
    """Return rows as the portal exports them: headed by display names, quoted where needed."""
    return as_csv([{HEADINGS[field]: text for field, text in row.items()} for row in rows], quoted=False)


PLAIN: Final = export(vehicle(1), vehicle(2, city="Doña Ana"))


def zipped(name: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(name, PLAIN)
    return target.getvalue()


# A file, and what is said of it after its name.
FILES: Final[dict[str, tuple[bytes, str]]] = {
    "semicolons": (
        PLAIN.replace(b",", b";"),
        (
            "has semicolons between its columns, not commas, from line 1 on; download it again as CSV, or export it "
            "with commas: this file was saved by a spreadsheet or another program."
        ),
    ),
    "tabs": (PLAIN.replace(b",", b"\t"), "has tabs between its columns, not commas, from line 1 on; "),
    "vertical bars": (PLAIN.replace(b",", b"|"), "has vertical bars between its columns, not commas, "),
    "a note on separators": (b"sep=,\r\n" + PLAIN, "begins with 'sep=,' in line 1, "),
    "UTF-16": (PLAIN.decode().encode("utf-16"), "is in UTF-16, not in UTF-8, from line 1 on; download it again as CSV"),
    "UTF-16, the other way round": (b"\xfe\xff" + PLAIN.decode().encode("utf-16-be"), "is in UTF-16, not in UTF-8"),
    "UTF-16 without a mark": (PLAIN.decode().encode("utf-16-le"), "is in UTF-16, not in UTF-8"),
    "UTF-32": (PLAIN.decode().encode("utf-32"), "is in UTF-32, not in UTF-8"),
    "cp1252": (
        PLAIN.decode().encode("cp1252"),
        (
            "is in Windows-1252 (cp1252) or the like, not in UTF-8: the first byte that is not is 0xF1 in line 3; "
            "download it again as CSV, or save it as 'CSV UTF-8 (comma delimited)'."
        ),
    ),
    "one broken byte": (PLAIN + b"\xe9", "is not UTF-8 throughout: the first byte that is not is 0xE9 in line 4; "),
    "a NUL": (PLAIN + b"\0", "is not text: line 4 has a NUL character; download it again as CSV."),
    "zip": (zipped("ev.csv"), "is a zip archive; unpack it and give the CSV file in it."),
    "Excel": (
        zipped("[Content_Types].xml"),
        "is a spreadsheet's workbook, not CSV; download it again as CSV, or save it as ",
    ),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "is a spreadsheet's workbook, not CSV; "),
    "gzip in gzip": (gzip.compress(gzip.compress(PLAIN)), "is compressed with gzip more than once; unpack it"),
    "HTML": (b"\n<!doctype html><title>a,b</title>", "is HTML or XML, not CSV; download it again as CSV."),
    "JSON": (b'{"error": true, "message": "x"}', "is JSON, not CSV; download it again as CSV."),
}


@pytest.mark.parametrize("case", FILES)
def test_a_damaged_file_is_refused_with_what_it_is_where_and_the_way_out(case: str, tmp_path: Path) -> None:
    content, said = FILES[case]
    path = tmp_path / "ev.csv"
    path.write_bytes(content)
    with pytest.raises(LocalError) as refusal:
        Snapshot.from_csv(path)
    assert str(refusal.value).startswith(f"--data {path} {said}")
    assert "contract" not in str(refusal.value)


@pytest.mark.parametrize("case", sorted(FILES.keys() - {"cp1252", "one broken byte", "a NUL"}))
def test_a_damaged_page_of_the_source_is_not_taken_for_a_change_of_its_columns(case: str) -> None:
    content, said = FILES[case]
    content = gzip.decompress(content) if case == "gzip in gzip" else content
    with pytest.raises(SourceError) as refusal:
        clean_part(content, DATASET)
    assert str(refusal.value).startswith(f"the part {said.split(';')[0].rstrip(', ')}")
    assert "with force" in str(refusal.value)


def test_columns_that_did_change_are_still_drift() -> None:
    with pytest.raises(DriftError, match="lacks make"):
        clean_part(as_csv([{name: text for name, text in VEHICLE.items() if name != "make"}]), DATASET)


@pytest.mark.parametrize(
    "content", [PLAIN, b"\xef\xbb\xbf" + PLAIN, gzip.compress(PLAIN[:900]) + gzip.compress(PLAIN[900:])]
)
def test_a_file_that_is_sound_is_taken_whole(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ev.csv"
    path.write_bytes(content)
    snapshot = Snapshot.from_csv(path)
    assert [column.field for column in snapshot.columns] == list(VEHICLE)
    assert [row[2] for row in snapshot.rows] == ["Seattle", "Doña Ana"]


HEADING_CHANGES: Final = {
    "no-break spaces": lambda heading: heading.replace(" ", "\u00a0"),
    "upper case": str.upper,
    "lower case": str.lower,
    "more spaces": lambda heading: f" {heading.replace(' ', '  ')}\u2003",
    "marks that nobody sees": lambda heading: f"\ufeff{heading}\u200b",
}


@pytest.mark.parametrize("change", HEADING_CHANGES)
def test_a_heading_in_another_case_or_with_other_spaces_is_the_same_heading(change: str, tmp_path: Path) -> None:
    header, _, rest = PLAIN.decode().partition("\n")
    changed = ",".join(map(HEADING_CHANGES[change], header.split(",")))
    path = tmp_path / "ev.csv"
    path.write_text(f"{changed}\n{rest}")
    assert [column.field for column in Snapshot.from_csv(path).columns] == list(VEHICLE)
    assert loaded(clean_part(path.read_bytes(), DATASET)) == loaded(clean_part(PLAIN, DATASET))


def test_no_two_columns_are_one_when_case_and_spaces_do_not_count() -> None:
    for column in DATASET.source_columns:
        assert DATASET.field_of(column.display.upper()) == DATASET.field_of(column.field.upper()) == column.field


def test_a_record_of_another_length_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "ev.csv"
    path.write_bytes(export(vehicle(1, city="A\nB")) + b"\n" + b"short,row\n")
    with pytest.raises(LocalError, match=r"the record that ends in line 5 has 2 values and the heading 17\."):
        Snapshot.from_csv(path)


# What a spreadsheet made of a field, and the reason that the row is rejected for.
VALUES: Final[dict[str, tuple[str, str, str]]] = {
    "rounded": ("_2020_census_tract", "5.30330E+10", "saved by a spreadsheet as a rounded number: its digits are lost"),
    "rounded, with a comma": (
        *("dol_vehicle_id", "2,49675E+08"),
        "saved by a spreadsheet as a rounded number: its digits are lost",
    ),
    "grouped": ("model_year", "2,016", "saved by a spreadsheet with its digits in groups"),
    "grouped by spaces": (
        "dol_vehicle_id",
        "249\u00a0675\u00a0142",
        "saved by a spreadsheet with its digits in groups",
    ),
    "a formula": ("zip_code", '="98052"', "saved by a spreadsheet as a formula"),
    "a formula of text": ("county", '="King"', "saved by a spreadsheet as a formula"),
    "an error": ("city", "#REF!", "saved by a spreadsheet as an error"),
    "too narrow": ("electric_utility", "########", "saved by a spreadsheet as an error"),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_that_a_spreadsheet_spoilt_costs_its_row_and_says_so(case: str) -> None:
    field, value, how = VALUES[case]
    cleaned = clean_part(as_csv([vehicle(1), vehicle(2, **{field: value}), vehicle(3)]), DATASET)
    assert [row["dol_vehicle_id"] for row in loaded(cleaned)] == ["1", "3"]
    (rejected,) = cleaned.rejected
    assert (rejected.line, rejected.raw[field]) == (3, value)
    assert rejected.reasons == (f"{field} is {value!r}, {how}",)


@pytest.mark.parametrize("value", ["#1 UTILITY", "=HYPERLINK(1)", "#", "1,234 OAKS", "5E", "PUD #1"])
def test_a_text_that_only_looks_like_it_stays(value: str) -> None:
    (row,) = loaded(clean_part(as_csv([vehicle(1, electric_utility=value)]), DATASET))
    assert row["electric_utility"] == value
    assert damage.of_text(value) is None
