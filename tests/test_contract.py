"""The dataset's contract and its rules: pure functions, no mock."""

import pytest

from evdata import contract
from evdata.contract import MAX_VALUE_CHARACTERS, NULL_MARKERS, SourceColumn
from evdata.dataset import DATASET, TRACT_LEADING_ZEROS, US_STATES, ZIP_LEADING_ZEROS, census_tract, postal_code
from evdata.errors import DriftError

TYPES = {column.field: column.types[0] for column in DATASET.source_columns}


def test_every_column_of_the_table_is_made_from_fields_that_the_source_has() -> None:
    fields = {column.field for column in DATASET.source_columns}
    for column in DATASET.columns:
        assert set(column.fields) <= fields, f"{column.name} is made from a field that is not selected"
    assert {field for column in DATASET.columns for field in column.fields} == fields, "every selected field is used"


def test_the_table_has_the_columns_that_others_rely_on() -> None:
    names = {column.name for column in DATASET.columns}
    assert names >= {
        *("vin_code", "county", "city", "state", "postal_code", "model_year", "make", "model_name", "vehicle_type"),
        *("electric_range", "dol_vehicle_id", "cafv_eligibility", "base_msrp", "legislative_district", "longitude"),
        *("latitude", "electric_utility", "census_tract"),
    }
    assert DATASET.key == "dol_vehicle_id"
    assert DATASET.key_column.sql_type == "bigint"


def test_only_the_point_makes_no_history() -> None:
    silent = {column.name for column in DATASET.columns if not column.history}
    assert silent == {"longitude", "latitude"}
    assert DATASET.key not in {column.name for column in DATASET.history_columns}


def test_every_column_says_what_it_means() -> None:
    assert all(column.comment for column in DATASET.columns)


def test_the_source_as_it_is_fits_the_contract() -> None:
    match = DATASET.match(TYPES)
    assert match.select == tuple(column.field for column in DATASET.source_columns)
    assert (match.missing, match.unknown) == ((), ())


def test_an_optional_column_may_be_gone() -> None:
    match = DATASET.match({name: kind for name, kind in TYPES.items() if name != "base_msrp"})
    assert match.missing == ("base_msrp",)
    assert "base_msrp" not in match.select


def test_new_columns_are_ignored_and_named_but_socratas_own_are_no_news() -> None:
    match = DATASET.match(TYPES | {"charger": "text", ":@computed_region_x": "number"})
    assert match.unknown == ("charger",)
    assert "charger" not in match.select


def test_required_columns_that_are_missing_or_retyped_are_refused_together_by_name() -> None:
    types = TYPES | {"make": "checkbox"}
    del types["dol_vehicle_id"]
    with pytest.raises(DriftError) as refusal:
        DATASET.match(types)
    assert "required column dol_vehicle_id ('DOL Vehicle ID') is missing" in str(refusal.value)
    assert "column make is of type checkbox, the contract takes text" in str(refusal.value)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("zip_code", "zip_code"),
        ("Postal Code", "zip_code"),
        ("2020 Census Tract", "_2020_census_tract"),
        ("Colour", None),
    ],
)
def test_headers_are_known_by_field_name_and_by_display_name(header: str, field: str | None) -> None:
    assert DATASET.field_of(header) == field


@pytest.mark.parametrize(
    ("code", "state", "expected"),
    [
        ("98103", "WA", "98103"),
        (" 98103 ", "WA", "98103"),
        ("98103.0", "WA", "98103"),
        ("96205", "AP", "96205"),
        ("", "WA", None),
        ("", "BC", None),
        ("V6B 1A1", "BC", "V6B 1A1"),
        # Each state whose codes begin with zeros, at the ends of its range.
        *(("6001", "CT", "06001"), ("6928", "CT", "06928"), ("6385.0", "CT", "06385")),
        *(("1001", "MA", "01001"), ("2791", "MA", "02791"), ("5501", "MA", "05501")),
        *(("3901", "ME", "03901"), ("4992", "ME", "04992")),
        *(("3031", "NH", "03031"), ("3897", "NH", "03897")),
        *(("7001", "NJ", "07001"), ("8989", "NJ", "08989")),
        *(("501", "NY", "00501"), ("544", "NY", "00544"), ("6390", "NY", "06390")),
        *(("601", "PR", "00601"), ("795", "PR", "00795"), ("988", "PR", "00988")),
        *(("2801", "RI", "02801"), ("2940", "RI", "02940")),
        *(("801", "VI", "00801"), ("851", "VI", "00851")),
        *(("5001", "VT", "05001"), ("5907", "VT", "05907")),
        *(("9001", "AE", "09001"), ("9898", "AE", "09898")),
    ],
)
def test_postal_codes_get_their_leading_zeros_back_where_the_states_codes_have_them(
    code: str, state: str, expected: str | None
) -> None:
    assert postal_code(code, state) == expected


@pytest.mark.parametrize(
    ("code", "state"),
    [
        *(
            (code, "WA")
            for code in ("981", "9810", "501", "98103-1234", "981035", "ABCDE", "98", "981.5", "\u0664\u0664\u0664")
        ),
        ("981", "MA"),  # 00981 is Puerto Rico's
        ("6001", "MA"),
        ("1001", "CT"),
        ("5501", "VT"),  # 055 is Massachusetts'
        ("3901", "NH"),
        ("801", "PR"),
        ("601", "VI"),
        *((code, "NY") for code in ("1001", "502", "6391", "0")),
        ("9001", "AP"),
        ("9001", "AA"),
        ("2801", "DC"),
    ],
)
def test_a_postal_code_too_short_for_its_state_is_refused_and_not_made_another_states(code: str, state: str) -> None:
    with pytest.raises(ValueError, match=f"expected 5 digits in {state}"):
        postal_code(code, state)


def test_leading_zeros_are_those_of_american_states() -> None:
    assert set(ZIP_LEADING_ZEROS) == {"AE", "CT", "MA", "ME", "NH", "NJ", "NY", "PR", "RI", "VI", "VT"} <= US_STATES
    assert set(TRACT_LEADING_ZEROS) == {"AL", "AK", "AZ", "AR", "CA", "CO", "CT"} <= US_STATES


def test_military_post_counts_as_american_and_canada_does_not() -> None:
    assert {"AA", "AE", "AP", "DC", "PR"} <= US_STATES
    assert "BC" not in US_STATES
    assert len(US_STATES) == 62, "50 states, the District, 8 territories and associated states, 3 for military post"


@pytest.mark.parametrize(
    ("tract", "state", "expected"),
    [
        ("53033004800", "WA", "53033004800"),
        ("53033004800.0", "WA", "53033004800"),
        ("06041111002", "WA", "06041111002"),  # a whole one is not judged by the address
        ("", "WA", None),
        *(
            ("1001020100", "AL", "01001020100"),
            ("2020000101", "AK", "02020000101"),
            ("4013010101", "AZ", "04013010101"),
        ),
        *(
            ("5001480100", "AR", "05001480100"),
            ("6041111002", "CA", "06041111002"),
            ("8001007801", "CO", "08001007801"),
        ),
        *(("9001010101", "CT", "09001010101"), ("6041111002.0", " CA ", "06041111002")),
    ],
)
def test_census_tracts_get_their_leading_zero_back_where_the_states_number_has_one(
    tract: str, state: str, expected: str | None
) -> None:
    assert census_tract(tract, state) == expected


@pytest.mark.parametrize(
    ("tract", "state"),
    [
        *((tract, "WA") for tract in ("5303301190", "123", "530330048001", "5303300480x")),
        ("6041111002", "WA"),
        ("6041111002", "AR"),
        ("604111100", "CA"),
        ("1001020100", "DE"),
        ("5303301190", "BC"),
    ],
)
def test_a_census_tract_that_lost_another_digit_is_refused_and_not_made_another_states(tract: str, state: str) -> None:
    with pytest.raises(ValueError, match=f"expected 11 digits in {state}"):
        census_tract(tract, state)


@pytest.mark.parametrize(
    ("value", "expected"), [("0", None), ("", None), ("238", "238"), ("238.0", "238"), ("007", "7"), (" 12 ", "12")]
)
def test_whole_numbers_lose_nothing_and_zero_can_mean_unknown(value: str, expected: str | None) -> None:
    assert contract.integer(1, 2000, unknown=0)(value) == expected


@pytest.mark.parametrize(("value", "inside"), [("4", False), ("5", True), ("10", True), ("11", False)])
def test_both_bounds_are_within(value: str, inside: bool) -> None:
    rule = contract.integer(5, 10)
    if inside:
        assert rule(value) == value
    else:
        with pytest.raises(ValueError, match=f"is {value}, expected 5 to 10"):
            rule(value)


def test_zero_is_a_number_like_any_other_where_it_does_not_mean_unknown() -> None:
    assert contract.integer(0, 10)("0") == "0"
    with pytest.raises(ValueError, match="is 0, expected 1 to 10"):
        contract.integer(1, 10)("0.0")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("98052.0", "98052"), ("0.0", "0"), ("53033005302.00", "53033005302"), ("5.", "5"), ("9" * 15 + ".0", "9" * 15)],
)
def test_a_whole_number_written_as_a_fraction_is_that_number(value: str, expected: str) -> None:
    assert contract.without_fraction(value) == expected


@pytest.mark.parametrize("value", ["9" * 16 + ".0", "1.5", ".0", "-1.0", "1.0.0", "1,0", "x.0", "1.0 "])
def test_what_floating_point_cannot_hold_or_is_no_whole_number_is_left_alone(value: str) -> None:
    assert contract.without_fraction(value) == value


@pytest.mark.parametrize("marker", sorted(NULL_MARKERS))
def test_a_null_marker_reads_as_blank_unless_the_column_says_that_it_is_a_true_value(marker: str) -> None:
    assert SourceColumn(field="country", display="Country").read(f" {marker} ") == ""
    own = SourceColumn(field="country", display="Country", null_markers=NULL_MARKERS - {marker})
    assert own.read(marker) == marker


@pytest.mark.parametrize("value", ["Null", "NONE", "none", "Nan", "-1", "N/A County", "---", "Unknown", "\\N", "0"])
def test_what_is_no_exact_null_marker_stays(value: str) -> None:
    assert SourceColumn(field="county", display="County").read(value) == value


def test_only_a_column_that_may_be_a_number_reads_a_fraction_as_a_whole_number() -> None:
    assert SourceColumn(field="zip", display="ZIP", types=("text", "number")).read(" 98052.0 ") == "98052"
    assert SourceColumn(field="model", display="Model").read("2.0") == "2.0"


def test_the_longest_value_is_what_csv_readers_take() -> None:
    assert MAX_VALUE_CHARACTERS == 131_072


@pytest.mark.parametrize("value", ["-5", "12.5", "twelve", "2001", "1e3", "\N{ARABIC-INDIC DIGIT THREE}"])
def test_what_is_no_whole_number_within_bounds_is_refused_with_the_value(value: str) -> None:
    with pytest.raises(ValueError, match=value.replace(".", r"\.")):
        contract.integer(1, 2000, unknown=0)(value)


def test_a_point_gives_longitude_and_latitude_as_they_are_written() -> None:
    point = "POINT (-122.34301 47.659185)"
    assert (contract.coordinate(0)(point), contract.coordinate(1)(point)) == ("-122.34301", "47.659185")
    assert contract.coordinate(0)("") is None


@pytest.mark.parametrize(
    ("axis", "point"), [(1, "POINT (47.6 -99.1)"), (0, "-122.3 47.6"), (0, "POINT (a b)"), (0, "POINT (-190.0 47.6)")]
)
def test_a_point_that_is_none_is_refused(axis: int, point: str) -> None:
    with pytest.raises(ValueError, match=r"expected 'POINT|beyond"):
        contract.coordinate(axis)(point)


def test_a_missing_value_is_refused_only_where_it_is_required() -> None:
    assert contract.text("  ") is None
    with pytest.raises(ValueError, match="is missing"):
        contract.required(contract.text)("  ")


def test_text_that_postgresql_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        contract.text("a\0b")
    assert contract.text("café") == "café"


def test_a_long_value_is_shown_short() -> None:
    with pytest.raises(ValueError, match=r"is 'x{37}\.\.\.'"):
        contract.one_of("a")("x" * 500)
