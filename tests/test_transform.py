"""A part's CSV into rows for COPY: pure, no AWS, no database."""

import csv
import io
from collections.abc import Mapping, Sequence

import pytest

from evdata.contract import MAX_VALUE_CHARACTERS
from evdata.dataset import DATASET, RANGE_UNKNOWN
from evdata.errors import DriftError
from evdata.transform import MISSING_IS_BLANK, Cleaned, clean_part, raw_rows

VEHICLE = {
    "vin_1_10": "KM8K33AGXL",
    "county": "King",
    "city": "Seattle",
    "state": "WA",
    "zip_code": "98103",
    "model_year": "2020",
    "make": "HYUNDAI",
    "model": "KONA",
    "ev_type": "Battery Electric Vehicle (BEV)",
    "cafv_type": "Clean Alternative Fuel Vehicle Eligible",
    "electric_range": "258",
    "base_msrp": "0",
    "legislative_district": "43",
    "dol_vehicle_id": "249675142",
    "geocoded_column": "POINT (-122.34301 47.659185)",
    "electric_utility": "CITY OF SEATTLE - (WA)|CITY OF TACOMA - (WA)",
    "_2020_census_tract": "53033004800",
}


def vehicle(key: int = 1, **changes: str) -> dict[str, str]:
    return VEHICLE | {"dol_vehicle_id": str(key)} | changes


def as_csv(rows: Sequence[Mapping[str, str]], *, quoted: bool = True) -> bytes:
    target = io.StringIO(newline="")
    header = list(rows[0]) if rows else list(VEHICLE)
    writer = csv.DictWriter(target, header, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode(errors="surrogateescape")


def loaded(cleaned: Cleaned) -> list[dict[str, str]]:
    names = [*(column.name for column in DATASET.columns), "line", ":id"]
    return [dict(zip(names, line.split("\t"), strict=True)) for line in cleaned.copy_text.decode().split("\n")[:-1]]


@pytest.mark.parametrize("quoted", [True, False], ids=["all quoted, as SODA writes", "quoted where needed"])
def test_a_vehicle_arrives_whole(quoted: bool) -> None:
    cleaned = clean_part(as_csv([VEHICLE], quoted=quoted), DATASET)
    assert (cleaned.rows, cleaned.rejected) == (1, ())
    assert loaded(cleaned) == [
        {
            "dol_vehicle_id": "249675142",
            "vin_code": "KM8K33AGXL",
            "county": "King",
            "city": "Seattle",
            "state": "WA",
            "postal_code": "98103",
            "model_year": "2020",
            "make": "HYUNDAI",
            "model_name": "KONA",
            "vehicle_type": "Battery Electric Vehicle (BEV)",
            "cafv_eligibility": "Clean Alternative Fuel Vehicle Eligible",
            "electric_range": "258",
            "base_msrp": r"\N",
            "legislative_district": "43",
            "longitude": "-122.34301",
            "latitude": "47.659185",
            "electric_utility": "CITY OF SEATTLE - (WA)|CITY OF TACOMA - (WA)",
            "census_tract": "53033004800",
            "line": "2",
            ":id": r"\N",
        }
    ]


def test_columns_are_known_by_name_in_any_order_and_under_either_name() -> None:
    display = {column.field: column.display for column in DATASET.source_columns}
    turned = {display[field]: VEHICLE[field] for field in reversed(VEHICLE)}
    assert loaded(clean_part(as_csv([turned]), DATASET)) == loaded(clean_part(as_csv([VEHICLE]), DATASET))


def test_columns_that_the_contract_does_not_know_are_left_out() -> None:
    assert loaded(clean_part(as_csv([VEHICLE | {"charger": "CCS"}]), DATASET)) == loaded(
        clean_part(as_csv([VEHICLE]), DATASET)
    )


def test_an_optional_column_that_is_gone_is_unknown_in_every_row() -> None:
    without = {name: value for name, value in VEHICLE.items() if name != "base_msrp"}
    (row,) = loaded(clean_part(as_csv([without]), DATASET))
    assert row["base_msrp"] == r"\N"


def test_a_part_without_a_required_column_is_refused_by_its_name() -> None:
    without = {name: value for name, value in VEHICLE.items() if name not in ("make", "dol_vehicle_id")}
    with pytest.raises(DriftError, match="lacks make, dol_vehicle_id"):
        clean_part(as_csv([without]), DATASET)


def test_blank_places_are_unknown_and_no_error() -> None:
    abroad = vehicle(
        county="", city="", zip_code="", geocoded_column="", legislative_district="", state="BC", model="",
        electric_utility="", _2020_census_tract="",
    )  # fmt: skip
    cleaned = clean_part(as_csv([abroad]), DATASET)
    (row,) = loaded(cleaned)
    unknown = {name for name, value in row.items() if value == r"\N"} - {":id"}
    assert unknown == {
        *("county", "city", "postal_code", "model_name", "base_msrp", "legislative_district", "longitude", "latitude"),
        *("electric_utility", "census_tract"),
    }


def test_a_row_that_cannot_be_kept_is_set_aside_with_every_reason() -> None:
    bad = vehicle(2, make="", model_year="soon", ev_type="Diesel", geocoded_column="here")
    cleaned = clean_part(as_csv([vehicle(1), bad, vehicle(3)]), DATASET)
    assert [row["dol_vehicle_id"] for row in loaded(cleaned)] == ["1", "3"]
    (rejected,) = cleaned.rejected
    assert (rejected.line, rejected.raw) == (3, bad)
    assert rejected.reasons == (
        "model_year is 'soon', expected a whole number",
        "make is missing",
        f"ev_type is 'Diesel', expected one of '{VEHICLE['ev_type']}', 'Plug-in Hybrid Electric Vehicle (PHEV)'",
        "geocoded_column is 'here', expected 'POINT (longitude latitude)'",
    )


@pytest.mark.parametrize("key", ["", "abc", "0", "-1", "9223372036854775808", "1.5"])
def test_a_row_without_a_usable_key_is_set_aside(key: str) -> None:
    cleaned = clean_part(as_csv([VEHICLE | {"dol_vehicle_id": key}]), DATASET)
    assert cleaned.rows == 0
    assert cleaned.rejected[0].reasons[0].startswith("dol_vehicle_id")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("249675142", "249675142"),
        ("249675142.0", "249675142"),  # as pandas writes it: the table has the number
        (" 7 ", "7"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", None),
        ("0", None),
        ("7.5", None),
        ("5.30330E+10", None),
        ("N/A", None),
        ("", None),
        ("x" * (MAX_VALUE_CHARACTERS + 1), None),
        ("7\udce9", None),
    ],
    ids=lambda value: "too long" if value and len(value) > 100 else ascii(value),
)
@pytest.mark.parametrize(
    "fault", [{"make": ""}, {"city": "CAF\udce9"}], ids=["a missing make", "a city of broken UTF-8"]
)
def test_a_rejected_row_has_the_key_that_the_table_would_have_or_none(
    written: str, key: str | None, fault: dict[str, str]
) -> None:
    rows = [vehicle(1), VEHICLE | fault | {"dol_vehicle_id": written}]
    cleaned = clean_part(as_csv(rows), DATASET)
    assert [row["dol_vehicle_id"] for row in loaded(cleaned)] == ["1"]
    assert [(row.line, row.key) for row in cleaned.rejected] == [(3, key)]


@pytest.mark.parametrize("fields", [["more"], []], ids=["too many fields", "too few fields"])
def test_a_record_of_another_length_has_no_key_although_its_number_could_be_read(fields: list[str]) -> None:
    bad = [*list(vehicle(7).values())[:-1], *fields, *fields]
    content = as_csv([vehicle(1)]) + ",".join(f'"{text}"' for text in bad).encode() + b"\n"
    (rejected,) = clean_part(content, DATASET).rejected
    assert rejected.raw["dol_vehicle_id"] == "7"
    assert rejected.key is None, "values may have moved: it may be another column's"


def test_records_with_too_few_or_too_many_fields_are_set_aside_and_the_others_kept() -> None:
    content = as_csv([vehicle(1)]) + b'"short","row"\n' + as_csv([vehicle(2)]).split(b"\n", 1)[1]
    content += as_csv([vehicle(3) | {"more": "x"}]).split(b"\n", 1)[1]
    cleaned = clean_part(content, DATASET)
    assert [(row["dol_vehicle_id"], row["line"]) for row in loaded(cleaned)] == [("1", "2"), ("2", "4")]
    assert [(row.line, row.reasons) for row in cleaned.rejected] == [
        (3, ("the record has 2 fields, the header 17",)),
        (5, ("the record has 18 fields, the header 17",)),
    ]
    assert cleaned.rejected[0].raw == {"vin_1_10": "short", "county": "row"}
    assert cleaned.rejected[1].raw["extra 1"] == "x"
    assert cleaned.source_rows == 4


def test_quotes_commas_line_breaks_and_backslashes_arrive_as_they_are() -> None:
    name = 'PUD NO 1, "THE\\BEST"\tOF\nWHATCOM'
    cleaned = clean_part(as_csv([vehicle(1, electric_utility=name), vehicle(2)]), DATASET)
    first, second = loaded(cleaned)
    assert first["electric_utility"] == 'PUD NO 1, "THE\\\\BEST"\\tOF\\nWHATCOM', "escaped as COPY reads it"
    assert second["line"] == "3", "a line break within quotes is no new record"


def test_a_column_that_comes_twice_is_drift() -> None:
    with pytest.raises(DriftError, match="city more than once"):
        clean_part(as_csv([vehicle(1)]).replace(b'"county"', b'"city"', 1), DATASET)


@pytest.mark.parametrize(
    ("characters", "rows"), [(MAX_VALUE_CHARACTERS, ["1", "2"]), (MAX_VALUE_CHARACTERS + 1, ["2"]), (10_000_000, ["2"])]
)
@pytest.mark.parametrize("field", ["electric_utility", "vin_1_10"])
def test_a_value_beyond_the_limit_costs_its_row_and_nobody_elses(characters: int, rows: list[str], field: str) -> None:
    cleaned = clean_part(as_csv([vehicle(1, **{field: "x" * characters}), vehicle(2)]) + b'"too","short"\n', DATASET)
    if field == "vin_1_10":  # whose rule would not have it anyway
        rows = ["2"]
    assert [row["dol_vehicle_id"] for row in loaded(cleaned)] == rows
    *long, short = cleaned.rejected
    assert short.reasons == ("the record has 2 fields, the header 17",)
    assert [row.raw[field] for row in long] == ["x" * characters] * (2 - len(rows)), "kept aside as it came"
    if characters > MAX_VALUE_CHARACTERS:
        assert long[0].reasons == (f"{field} has {characters:,} characters, expected 131,072 at most",)


def test_a_carriage_return_within_a_value_is_part_of_it() -> None:
    rows = [vehicle(1, city="SEA\rTLE"), vehicle(2, city="A\r\nB"), vehicle(3)]
    for content in (as_csv(rows), as_csv(rows) + b'"too","short"\n'):  # parsed at once, and record by record
        assert [(row["city"], row["line"]) for row in loaded(clean_part(content, DATASET))] == [
            (r"SEA\rTLE", "2"),
            (r"A\r\nB", "3"),
            ("Seattle", "4"),
        ]
        assert raw_rows(content, [2])[2]["city"] == "SEA\rTLE"


def test_blank_records_are_counted_so_that_the_lines_of_those_after_them_are_right() -> None:
    header, first, second, bad = as_csv([vehicle(1), vehicle(2), vehicle(3, make="")]).splitlines()
    content = b"\n".join([header, b"", first, b"", b"", second, bad, b""])
    cleaned = clean_part(content, DATASET)
    assert [(row["dol_vehicle_id"], row["line"]) for row in loaded(cleaned)] == [("1", "3"), ("2", "6")]
    assert [(row.line, row.reasons) for row in cleaned.rejected] == [
        *((line, ("the record has 0 fields, the header 17",)) for line in (2, 4, 5)),
        (7, ("make is missing",)),
    ]
    assert cleaned.source_rows == 6, "each is a record to the source too"
    assert {line: row["dol_vehicle_id"] for line, row in raw_rows(content, [3, 6, 7]).items()} == {
        3: "1",
        6: "2",
        7: "3",
    }


def test_what_went_through_floating_point_loads_as_if_it_had_not() -> None:
    changed = {name: f"{VEHICLE[name]}.0" for name in NUMBERS}
    zero = {"electric_range": "0.0", "cafv_type": RANGE_UNKNOWN}
    exact = clean_part(as_csv([VEHICLE, vehicle(2, **zero | {"electric_range": "0"})]), DATASET)
    cleaned = clean_part(as_csv([VEHICLE | changed, vehicle(2, **zero)]), DATASET)
    assert loaded(cleaned) == loaded(exact)
    assert cleaned.warnings == exact.warnings, "0.0 is as unknown a range as 0"
    assert set(cleaned.warnings.values()) == {0}


NUMBERS = (
    *("zip_code", "model_year", "electric_range", "base_msrp", "legislative_district", "dol_vehicle_id"),
    "_2020_census_tract",
)


def test_null_markers_are_blank_and_counted_by_rows() -> None:
    rows = [
        vehicle(1),
        vehicle(2, county="NULL", city="N/A", electric_utility="nan"),
        vehicle(3, county="-", state="BC", zip_code="nan", legislative_district="NaN", _2020_census_tract="<NA>"),
        vehicle(4, county=" ", model=""),
        vehicle(5, make="NULL"),
    ]
    cleaned = clean_part(as_csv(rows), DATASET)
    unknown = [{name for name, text in row.items() if text == r"\N"} - {"base_msrp", ":id"} for row in loaded(cleaned)]
    assert unknown == [
        set(),
        {"county", "city", "electric_utility"},
        {"county", "postal_code", "legislative_district", "census_tract"},
        {"county", "model_name"},
    ]
    assert {name: rows for name, rows in cleaned.warnings.items() if rows} == {MISSING_IS_BLANK: 2}, "of the rows kept"
    (rejected,) = cleaned.rejected
    assert (rejected.reasons, rejected.raw["make"]) == (("make is missing",), "NULL")


def test_a_part_without_null_markers_has_no_warning_of_them() -> None:
    assert MISSING_IS_BLANK not in clean_part(as_csv([vehicle(1, county="")]), DATASET).warnings


def test_a_code_is_padded_by_the_state_of_its_own_row() -> None:
    cleaned = clean_part(
        as_csv(
            [
                vehicle(1, state="CT", zip_code="6385", _2020_census_tract="9011693100"),
                vehicle(2, state="CA", zip_code="90001", _2020_census_tract="6041111002"),
                vehicle(3, zip_code="981"),
                vehicle(4, _2020_census_tract="5303301190"),
            ]
        ),
        DATASET,
    )
    assert [(row["postal_code"], row["census_tract"]) for row in loaded(cleaned)] == [
        ("06385", "09011693100"),
        ("90001", "06041111002"),
    ]
    assert [row.reasons for row in cleaned.rejected] == [
        ("zip_code is '981', expected 5 digits in WA",),
        ("_2020_census_tract is '5303301190', expected 11 digits in WA",),
    ]


def test_lines_that_end_as_they_did_on_old_machines_are_lines() -> None:
    content = as_csv([vehicle(1), vehicle(2)]).replace(b"\n", b"\r")
    assert [row["dol_vehicle_id"] for row in loaded(clean_part(content, DATASET))] == ["1", "2"]


def test_a_broken_byte_costs_its_row_and_not_the_part() -> None:
    content = as_csv([vehicle(1), vehicle(2, city="CAFE"), vehicle(3)]).replace(b"CAFE", b"CAF\xe9")
    cleaned = clean_part(content, DATASET)
    assert [row["dol_vehicle_id"] for row in loaded(cleaned)] == ["1", "3"]
    assert "not UTF-8" in cleaned.rejected[0].reasons[0]


def test_a_line_break_within_a_value_does_not_pass_for_two_values() -> None:
    cleaned = clean_part(as_csv([vehicle(1, vin_1_10="KM8K33AGXL\nKM8K33AGXL"), vehicle(2)]), DATASET)
    assert [row["dol_vehicle_id"] for row in loaded(cleaned)] == ["2"]
    assert "expected 10 capitals or digits" in cleaned.rejected[0].reasons[0]


def test_a_part_without_rows_is_no_error() -> None:
    cleaned = clean_part(as_csv([]), DATASET)
    assert (cleaned.rows, cleaned.copy_text, cleaned.rejected) == (0, b"", ())


def test_facts_across_columns_are_counted_and_the_rows_kept() -> None:
    rows = [
        vehicle(1),
        vehicle(2, electric_range="0"),
        vehicle(3, cafv_type=RANGE_UNKNOWN, electric_range="0"),
        vehicle(4, state="OR"),
        vehicle(5, legislative_district=""),
    ]
    cleaned = clean_part(as_csv(rows), DATASET)
    assert cleaned.rows == 5
    assert list(cleaned.warnings.values()) == [1, 2]


def test_raw_rows_are_found_again_by_their_lines() -> None:
    content = as_csv([vehicle(1), vehicle(2, city="A\nB"), vehicle(3)])
    assert raw_rows(content, [3, 4]) == {3: vehicle(2, city="A\nB"), 4: vehicle(3)}


@pytest.mark.parametrize(
    ("characters", "shown"), [(500, "x" * 500), (501, "x" * 497 + "..."), (3, "xxx"), (0, "nothing")]
)
def test_a_header_that_lacks_everything_is_shown_up_to_500_characters(characters: int, shown: str) -> None:
    with pytest.raises(DriftError) as raised:
        clean_part(b"x" * characters + b"\n", DATASET)
    assert f"; it has {shown}. The source changed its columns" in str(raised.value)


def test_the_warning_of_null_markers_is_in_words_that_people_read() -> None:
    warnings = clean_part(as_csv([vehicle(1, county="N/A")]), DATASET).warnings
    assert warnings["what is missing is left blank, not written as NULL, N/A or nan"] == 1


@pytest.mark.parametrize(
    ("row_id", "written"),
    [
        ("row-1", "row-1"),
        ("a\tb", r"a\tb"),
        ("a\nb", r"a\nb"),
        ("a\rb", r"a\rb"),
        ("a\\b", r"a\\b"),
        ("a\0b", "ab"),
        ("", r"\N"),
    ],
)
def test_an_identifier_is_written_as_copy_reads_it(row_id: str, written: str) -> None:
    cleaned = clean_part(as_csv([{":id": row_id} | vehicle(1)]), DATASET)
    assert cleaned.copy_text.decode().removesuffix("\n").split("\t")[-1] == written


def test_a_part_without_rows_breaks_no_expectation() -> None:
    assert set(
        clean_part(as_csv([{":id": "row-1"} | VEHICLE]).splitlines(keepends=True)[0], DATASET).warnings.values()
    ) == {0}
