"""The dataset's contract and its rules: pure functions, no mock."""

import pytest

from evdata import contract
from evdata.dataset import DATASET, US_STATES, census_tract, postal_code
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
        ("6385", "CT", "06385"),
        ("501", "NY", "00501"),
        ("", "BC", None),
        ("V6B 1A1", "BC", "V6B 1A1"),
        (" 98103 ", "WA", "98103"),
        ("96205", "AP", "96205"),
    ],
)
def test_postal_codes_get_their_leading_zeros_back_in_the_united_states(
    code: str, state: str, expected: str | None
) -> None:
    assert postal_code(code, state) == expected


@pytest.mark.parametrize("code", ["981035", "ABCDE", "98"])
def test_a_postal_code_that_cannot_be_american_is_refused_for_an_american_state(code: str) -> None:
    with pytest.raises(ValueError, match="expected 5 digits in WA"):
        postal_code(code, "WA")


def test_military_post_counts_as_american_and_canada_does_not() -> None:
    assert {"AA", "AE", "AP", "DC", "PR"} <= US_STATES
    assert "BC" not in US_STATES
    assert len(US_STATES) == 62, "50 states, the District, 8 territories and associated states, 3 for military post"


@pytest.mark.parametrize(
    ("tract", "expected"), [("53033004800", "53033004800"), ("6041111002", "06041111002"), ("", None)]
)
def test_census_tracts_have_eleven_digits(tract: str, expected: str | None) -> None:
    assert census_tract(tract) == expected


@pytest.mark.parametrize("tract", ["123", "530330048001", "5303300480x"])
def test_a_census_tract_of_another_shape_is_refused(tract: str) -> None:
    with pytest.raises(ValueError, match="expected 11 digits"):
        census_tract(tract)


@pytest.mark.parametrize(
    ("value", "expected"), [("0", None), ("", None), ("238", "238"), ("238.0", "238"), ("007", "7"), (" 12 ", "12")]
)
def test_whole_numbers_lose_nothing_and_zero_can_mean_unknown(value: str, expected: str | None) -> None:
    assert contract.integer(1, 2000, unknown=0)(value) == expected


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
