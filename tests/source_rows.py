"""Rows as the source may send them, and beside each what the contract must make of it, written down by hand.

A row is made of a key, facts, a point and defects, each chosen by name: tests draw the names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from local import soda
from local.snapshot import Column, Snapshot
from tests.reference_model import Row, Values, Version

BEV: Final = "Battery Electric Vehicle (BEV)"
PHEV: Final = "Plug-in Hybrid Electric Vehicle (PHEV)"
ELIGIBLE: Final = "Clean Alternative Fuel Vehicle Eligible"
UNKNOWN: Final = "Eligibility unknown as battery range has not been researched"

# By field, in the contract's order, which is the order in which extract asks for them.
PLAIN: Final = {
    "vin_1_10": "KM8K33AGXL",
    "county": "King",
    "city": "Seattle",
    "state": "WA",
    "zip_code": "98103",
    "model_year": "2020",
    "make": "HYUNDAI",
    "model": "KONA",
    "ev_type": BEV,
    "cafv_type": ELIGIBLE,
    "electric_range": "258",
    "base_msrp": "0",
    "legislative_district": "43",
    "dol_vehicle_id": "1",
    "geocoded_column": "POINT (-122.34301 47.659185)",
    "electric_utility": "CITY OF SEATTLE - (WA)|CITY OF TACOMA - (WA)",
    "_2020_census_tract": "53033004800",
}
PLAIN_FACTS: Final[Values] = {
    "vin_code": "KM8K33AGXL",
    "county": "King",
    "city": "Seattle",
    "state": "WA",
    "postal_code": "98103",
    "model_year": 2020,
    "make": "HYUNDAI",
    "model_name": "KONA",
    "vehicle_type": BEV,
    "cafv_eligibility": ELIGIBLE,
    "electric_range": 258,
    "base_msrp": None,
    "legislative_district": 43,
    "electric_utility": "CITY OF SEATTLE - (WA)|CITY OF TACOMA - (WA)",
    "census_tract": "53033004800",
}

# What differs from PLAIN in the source, what differs from PLAIN_FACTS in the table, how many expectations break.
FACTS: Final[Mapping[str, tuple[Mapping[str, str], Values, tuple[str, ...]]]] = {
    "plain": ({}, {}, ()),
    "moved house": (
        {"city": "Tacoma", "county": "Pierce", "zip_code": "98402", "legislative_district": "27"},
        {"city": "Tacoma", "county": "Pierce", "postal_code": "98402", "legislative_district": 27},
        (),
    ),
    "another car": (
        {"vin_1_10": "WBY8P6C05L", "make": "BMW", "model": "I3", "ev_type": PHEV, "base_msrp": "44450"},
        {"vin_code": "WBY8P6C05L", "make": "BMW", "model_name": "I3", "vehicle_type": PHEV, "base_msrp": 44450},
        (),
    ),
    "range unknown": (
        {"electric_range": "0", "cafv_type": UNKNOWN},
        {"electric_range": None, "cafv_eligibility": UNKNOWN},
        (),
    ),
    "much is blank": (
        dict.fromkeys(("county", "city", "zip_code", "model", "electric_utility", "_2020_census_tract"), ""),
        dict.fromkeys(("county", "city", "postal_code", "model_name", "electric_utility", "census_tract")),
        (),
    ),
    "abroad": (
        {"state": "BC", "city": "Vancouver", "zip_code": "V6B 1A1", "legislative_district": ""},
        {"state": "BC", "city": "Vancouver", "postal_code": "V6B 1A1", "legislative_district": None},
        (),
    ),
    "zeros lost": (
        {"state": "CT", "zip_code": "6103", "_2020_census_tract": "9003524700", "legislative_district": ""},
        {"state": "CT", "postal_code": "06103", "census_tract": "09003524700", "legislative_district": None},
        (),
    ),
    "odd text": (
        {"city": 'O"Brien\\N,\ttab\nnew\\line', "county": "\\N", "model": "500", "electric_utility": "Ünï|çødé 🚗"},
        {
            "city": 'O"Brien\\N,\ttab\nnew\\line',
            "county": "\\N",
            "model_name": "500",
            "electric_utility": "Ünï|çødé 🚗",
        },
        (),
    ),
    "unexpected": (
        {"electric_range": "0", "legislative_district": ""},
        {"electric_range": None, "legislative_district": None},
        ("range is 0 exactly when eligibility is unknown", "district is blank exactly outside Washington"),
    ),
}

POINTS: Final[Mapping[str, tuple[str, float | None, float | None]]] = {
    "here": ("POINT (-122.34301 47.659185)", -122.34301, 47.659185),
    "a decimal moved": ("POINT (-122.343 47.6592)", -122.343, 47.6592),
    "nowhere": ("", None, None),
}

# What replaces a value, and the one reason that it gives. No two of a row concern the same field or rule: one that
# changes the state brings a postal code and a tract that are right in any state, or in its own.
ANYWHERE: Final = {"zip_code": "98103", "_2020_census_tract": "53033004800"}
DEFECTS: Final[Mapping[str, tuple[Mapping[str, str], str]]] = {
    "no key": ({"dol_vehicle_id": ""}, "dol_vehicle_id is missing"),
    "a key of letters": ({"dol_vehicle_id": "12x"}, "dol_vehicle_id is '12x', expected a whole number"),
    "key 0": ({"dol_vehicle_id": "0"}, "dol_vehicle_id is 0, expected 1 to 9223372036854775807"),
    "no VIN": ({"vin_1_10": " "}, "vin_1_10 is missing"),
    "short VIN": ({"vin_1_10": "KM8K33"}, "vin_1_10 is 'KM8K33', expected 10 capitals or digits"),
    "no state": ({"state": "", **ANYWHERE}, "state is missing"),
    "a state in full": ({"state": "Washington", **ANYWHERE}, "state is 'Washington', expected 2 capitals"),
    "letters in a ZIP code": (
        {"state": "WA", **ANYWHERE, "zip_code": "V6B 1A1"},
        "zip_code is 'V6B 1A1', expected 5 digits in WA",
    ),
    "no model year": ({"model_year": ""}, "model_year is missing"),
    "a model year long ago": ({"model_year": "1066"}, "model_year is 1066, expected 1900 to 2100"),
    "no make": ({"make": ""}, "make is missing"),
    "no type": ({"ev_type": ""}, "ev_type is missing"),
    "another type": ({"ev_type": "Steam"}, f"ev_type is 'Steam', expected one of '{BEV}', '{PHEV}'"),
    "negative range": ({"electric_range": "-5"}, "electric_range is '-5', expected a whole number"),
    "endless range": ({"electric_range": "9999"}, "electric_range is 9999, expected 1 to 2000"),
    "a price in words": ({"base_msrp": "dear"}, "base_msrp is 'dear', expected a whole number"),
    "district 100": ({"legislative_district": "100"}, "legislative_district is 100, expected 1 to 99"),
    "off the globe": (
        {"geocoded_column": "POINT (-192 47)"},
        "geocoded_column is 'POINT (-192 47)', beyond 180 degrees",
    ),
    "no point": ({"geocoded_column": "here"}, "geocoded_column is 'here', expected 'POINT (longitude latitude)'"),
    "a short tract": (
        {"state": "WA", **ANYWHERE, "_2020_census_tract": "53033"},
        "_2020_census_tract is '53033', expected 11 digits in WA",
    ),
    "a NUL": (
        {"electric_utility": "PUGET\0SOUND"},
        "electric_utility is 'PUGET\\x00SOUND', which holds a NUL character",
    ),
}


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row, by names; `fields` other than 0 is a record with so many fields too many or too few."""

    key: int
    facts: str = "plain"
    point: str = "here"
    defects: tuple[str, ...] = ()
    fields: int = 0

    def raw(self, names: Sequence[str]) -> dict[str, str]:
        """The row's text in the columns `names`, well formed."""
        text = PLAIN | {"dol_vehicle_id": str(self.key), "geocoded_column": POINTS[self.point][0]}
        for changes in (FACTS[self.facts][0], *(DEFECTS[defect][0] for defect in self.defects)):
            text |= changes
        return {name: text.get(name, "new") for name in names}

    def record(self, names: Sequence[str]) -> tuple[str, ...]:
        """The row as the portal writes it, well formed or not."""
        values = tuple(self.raw(names).values())
        return (*values, *("more",) * self.fields) if self.fields > 0 else values[: len(values) + self.fields]

    def judged(self, asked: Sequence[str], number: int) -> Row:
        """What the contract must make of the row, the source's `number`th, when the fields `asked` were copied."""
        row_id = {":id": soda.row_id(number)}
        if self.fields:
            names = [*asked, *(f"extra {number}" for number in range(1, self.fields + 1))]
            return Row(
                raw=row_id | dict(zip(names, self.record(asked), strict=False)),
                reasons=(f"the record has {len(asked) + self.fields + 1} fields, the header {len(asked) + 1}",),
            )
        reasons = tuple(DEFECTS[defect][1] for defect in self.defects if DEFECTS[defect][0].keys() <= set(asked))
        _, facts, warnings = FACTS[self.facts]
        _, longitude, latitude = POINTS[self.point]
        gone = {} if "base_msrp" in asked else {"base_msrp": None}
        return Row(
            # PostgreSQL holds no NUL: rejected_row shows it escaped.
            raw=row_id | {name: text.replace("\0", "\\0") for name, text in self.raw(asked).items()},
            key=None if any("dol_vehicle_id" in DEFECTS[defect][0] for defect in self.defects) else self.key,
            facts={**PLAIN_FACTS, **facts, **gone},
            point={"longitude": longitude, "latitude": latitude},
            reasons=reasons,
            warnings=warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """The source at a moment: rows, and what became of its columns."""

    rows: tuple[SourceRow, ...]
    gone: str | None = None  # a column that is gone
    new: str | None = None  # one that was added
    retyped: str | None = None  # one that is a point now

    def snapshot(self, at: datetime) -> Snapshot:
        """What the stand-in serves."""
        names = [name for name in (*PLAIN, self.new) if name and name != self.gone]
        named = [Column.named(name) for name in names]
        return Snapshot(
            columns=tuple(
                Column(name=c.name, field=c.field, type="point") if c.field == self.retyped else c for c in named
            ),
            rows=[row.record(names) for row in self.rows],
            rows_updated_at=int(at.timestamp()),
        )

    def version(self, at: datetime) -> Version:
        """What the reference model is told."""
        asked = [name for name in PLAIN if name != self.gone]
        drifted = self.gone not in (None, "base_msrp") or self.retyped is not None
        return Version(
            at=at, rows=tuple(row.judged(asked, number) for number, row in enumerate(self.rows)), drifted=drifted
        )
