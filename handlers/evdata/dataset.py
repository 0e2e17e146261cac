"""The contract with the Electric Vehicle Population dataset.

Nothing else here knows electric vehicles but the views, which are part of the contract and stand in `views.py` for
their length, and `report/`, the page about them.

Everything else derives from `DATASET`: what is selected from the source, how values are cleaned, the tables, the
comparison of versions, the views, the data dictionary. Another Socrata dataset needs another such contract; without
these views it has no report.

Source: "Electric Vehicle Population Data", Washington State Department of Licensing, Open Database License 1.0,
https://data.wa.gov/d/f6w7-q2d2
"""

from typing import Final

from evdata.contract import (
    Column,
    Dataset,
    Expectation,
    SourceColumn,
    code,
    coordinate,
    integer,
    matching,
    one_of,
    required,
    text,
)
from evdata.views import BATTERY_ELECTRIC, PLUG_IN_HYBRID, VIEWS

# Postal abbreviations whose codes are ZIP codes: states, the District, territories, and military post (AA, AE, AP).
# https://pe.usps.com/text/pub28/28apb.htm
US_STATES: Final = frozenset(
    (
        *("AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DE", "DC", "FL", "GA", "HI", "ID", "IL", "IN", "IA", "KS", "KY"),
        *("LA", "ME", "MD", "MA", "MI", "MN", "MS", "MO", "MT", "NE", "NV", "NH", "NJ", "NM", "NY", "NC", "ND", "OH"),
        *("OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VT", "VA", "WA", "WV", "WI", "WY"),
        *("AS", "GU", "MP", "PR", "VI", "FM", "MH", "PW", "AA", "AE", "AP"),
    )
)


# How the ZIP codes begin that have leading zeros: the prefixes of three digits and, in New York, three whole codes.
# https://en.wikipedia.org/wiki/List_of_ZIP_Code_prefixes, after the Postal Service's labeling list L002
ZIP_LEADING_ZEROS: Final = {
    "AE": "09",
    "CT": "06",
    "MA": "01|02[0-7]|055",
    "ME": "039|04",
    "NH": "03[0-8]",
    "NJ": "0[78]",
    "NY": "00501|00544|06390",
    "PR": "00[679]",
    "RI": "02[89]",
    "VI": "008",
    "VT": "05[0-46-9]",
}
# The states whose number in census tracts begins with a zero: https://www.census.gov/library/reference/code-lists/ansi.html
TRACT_LEADING_ZEROS: Final = {
    "AL": "01",
    "AK": "02",
    "AZ": "04",
    "AR": "05",
    "CA": "06",
    "CO": "08",
    "CT": "09",
}

zip_code: Final = code(5, ZIP_LEADING_ZEROS)
census_tract: Final = code(11, TRACT_LEADING_ZEROS)


def postal_code(value: str, state: str) -> str | None:
    """Five digits in the United States, with leading zeros restored where the state's codes have them and a shorter
    code rejected elsewhere; as it is abroad.
    """
    return zip_code(value, state) if state.strip() in US_STATES else text(value)


RANGE_UNKNOWN: Final = "Eligibility unknown as battery range has not been researched"

DATASET: Final = Dataset(
    dataset_id="f6w7-q2d2",
    title="Electric Vehicle Population Data",
    attribution="Washington State Department of Licensing, data.wa.gov, Open Database License 1.0",
    table="electric_vehicle_us",
    key="dol_vehicle_id",
    row_noun="vehicle",
    row_nouns="vehicles",
    reader="ev_reader",
    source_columns=(
        SourceColumn(field="vin_1_10", display="VIN (1-10)"),
        SourceColumn(field="county", display="County"),
        SourceColumn(field="city", display="City"),
        SourceColumn(field="state", display="State"),
        SourceColumn(field="zip_code", display="Postal Code", types=("text", "number")),
        SourceColumn(field="model_year", display="Model Year", types=("text", "number")),
        SourceColumn(field="make", display="Make"),
        SourceColumn(field="model", display="Model"),
        SourceColumn(field="ev_type", display="Electric Vehicle Type"),
        SourceColumn(field="cafv_type", display="Clean Alternative Fuel Vehicle (CAFV) Eligibility"),
        SourceColumn(field="electric_range", display="Electric Range", types=("number", "text")),
        # Removed from the dataset between July 2025 and January 2026.
        SourceColumn(field="base_msrp", display="Base MSRP", types=("number", "text"), optional=True),
        SourceColumn(field="legislative_district", display="Legislative District", types=("number", "text")),
        SourceColumn(field="dol_vehicle_id", display="DOL Vehicle ID", types=("text", "number")),
        SourceColumn(field="geocoded_column", display="Vehicle Location", types=("point",)),
        SourceColumn(field="electric_utility", display="Electric Utility"),
        SourceColumn(field="_2020_census_tract", display="2020 Census Tract", types=("text", "number")),
    ),
    columns=(
        Column(
            name="dol_vehicle_id",
            sql_type="bigint",
            fields=("dol_vehicle_id",),
            clean=required(integer(1, 2**63 - 1)),
            verbatim=r"[1-9][0-9]{0,17}",
            not_null=True,
            comment="Number that the Department of Licensing gives a vehicle; the key of the dataset",
        ),
        Column(
            name="vin_code",
            sql_type="text",
            fields=("vin_1_10",),
            clean=required(matching(r"[0-9A-Z]{10}", "10 capitals or digits")),
            verbatim=r"[0-9A-Z]{10}",
            not_null=True,
            comment="First 10 characters of the vehicle identification number; not unique",
        ),
        Column(
            name="county",
            sql_type="text",
            fields=("county",),
            clean=text,
            comment="County of the registered owner; may lie outside Washington",
            null="the source leaves it blank, as it does abroad",
        ),
        Column(name="city", sql_type="text", fields=("city",), clean=text, comment="City of the registered owner"),
        Column(
            name="state",
            sql_type="text",
            fields=("state",),
            clean=required(matching(r"[A-Z]{2}", "2 capitals")),
            not_null=True,
            comment="State of the registered owner, two letters; also Canadian provinces (BC) and military post (AP)",
        ),
        Column(
            name="postal_code",
            sql_type="text",
            fields=("zip_code", "state"),
            clean=postal_code,
            comment="Postal code of the registered owner; 5 digits in the United States, leading zeros restored",
        ),
        Column(
            name="model_year",
            sql_type="smallint",
            fields=("model_year",),
            clean=required(integer(1900, 2100)),
            not_null=True,
            comment="Model year of the vehicle",
        ),
        Column(
            name="make",
            sql_type="text",
            fields=("make",),
            clean=required(text),
            not_null=True,
            comment="Manufacturer, upper case as in the source",
        ),
        Column(
            name="model_name",
            sql_type="text",
            fields=("model",),
            clean=text,
            comment="Model",
        ),
        Column(
            name="vehicle_type",
            sql_type="text",
            fields=("ev_type",),
            clean=required(one_of(BATTERY_ELECTRIC, PLUG_IN_HYBRID)),
            not_null=True,
            comment="Battery electric (BEV) or plug-in hybrid (PHEV)",
        ),
        Column(
            name="cafv_eligibility",
            sql_type="text",
            fields=("cafv_type",),
            clean=text,
            comment="Eligibility as a clean alternative fuel vehicle by fuel and battery range",
        ),
        Column(
            name="electric_range",
            sql_type="integer",
            fields=("electric_range",),
            clean=integer(1, 2000, unknown=0),
            comment="Range on battery alone, miles",
            null="the source writes 0, for not researched",
        ),
        Column(
            name="base_msrp",
            sql_type="integer",
            fields=("base_msrp",),
            clean=integer(1, 10_000_000, unknown=0),
            comment="Lowest suggested retail price of the model, US dollars; gone from the source since 2026",
            null="the source writes 0, or has no such column",
        ),
        Column(
            name="legislative_district",
            sql_type="smallint",
            fields=("legislative_district",),
            clean=integer(1, 99),
            comment="Washington legislative district, 1 to 49",
            null="the source leaves it blank, as it does outside Washington",
        ),
        Column(
            name="longitude",
            sql_type="double precision",
            fields=("geocoded_column",),
            clean=coordinate(0),
            history=False,
            comment="Longitude of the centre of the postal code, degrees; its precision changes between versions",
        ),
        Column(
            name="latitude",
            sql_type="double precision",
            fields=("geocoded_column",),
            clean=coordinate(1),
            history=False,
            comment="Latitude of the centre of the postal code, degrees; its precision changes between versions",
        ),
        Column(
            name="electric_utility",
            sql_type="text",
            fields=("electric_utility",),
            clean=text,
            comment="Electric utilities that serve the address, separated by | and || as in the source",
        ),
        Column(
            name="census_tract",
            sql_type="text",
            fields=("_2020_census_tract", "state"),
            clean=census_tract,
            comment="2020 census tract of the address: 11 digits, leading zeros restored",
        ),
    ),
    expectations=(
        Expectation(
            name="range is 0 exactly when eligibility is unknown",
            fields=("electric_range", "cafv_type"),
            holds=lambda electric_range, cafv: (electric_range == "0") == (cafv == RANGE_UNKNOWN),
        ),
        Expectation(
            name="district is blank exactly outside Washington",
            fields=("legislative_district", "state"),
            holds=lambda district, state: (district == "") == (state != "WA"),
        ),
    ),
    views=VIEWS,
)
