"""What stands in the table now, in pictures: how many, where, which, how old, how far they go."""

from collections.abc import Iterable, Sequence
from typing import Final

from evdata.report.facts import Facts, Group, Range
from evdata.report.figure import BARS, BATTERY, HYBRID, NOTHING, SPLIT, Figure, and_more, bars, split, split_table
from evdata.report.words import DASH, Table, be, counted, day, name, place, share

ENOUGH: Final = 20  # vehicles of known range, for a median that says something


def population(facts: Facts) -> Figure:
    versions, first, last = facts.versions, facts.versions[:1], facts.version
    if not last:
        finding = "No version has been published yet"
    elif len(versions) == 1:
        finding = "One version is on record: the line begins here"
    else:
        grown = last.vehicles - first[0].vehicles
        verb = "grew" if grown > 0 else "shrank" if grown < 0 else "stayed as it was"
        finding = f"The register {verb} {f'by {abs(grown):,} ' if grown else ''}since {day(first[0].dataset_version)}"
    return Figure(
        id="population",
        finding=finding,
        of="Registered electric vehicles in each published version of the dataset",
        size="wide",
        picture={
            "kind": "line",
            "y": "Vehicles",
            "points": [[version.dataset_version.isoformat(), version.vehicles] for version in versions],
        }
        if versions
        else None,
        why_not="There is nothing to draw yet: the first version that is published begins the line.",
        table=Table(
            caption="Vehicles in each published version, and how it differs from the version before it",
            head=("Version", "Vehicles", "Arrived", "Departed", "Changed", "Rows rejected", "Kept"),
            rows=[
                (day(v.dataset_version), v.vehicles, v.arrived, v.departed, v.changed, v.rejected, v.kept)
                for v in reversed(versions)
            ],
        ),
    )


def county_map(facts: Facts, shapes: Iterable[str]) -> Figure:
    drawn = dict.fromkeys(shapes, 0)
    by_shape = {shape.casefold(): shape for shape in drawn}
    for group in facts.counties:
        if shape := by_shape.get((group.name or "").casefold()):
            drawn[shape] += group.vehicles
    off_map = facts.vehicles - sum(drawn.values())
    most = max(drawn, key=lambda shape: drawn[shape], default="")
    known = bool(most and drawn[most])
    outside = facts.outside
    rest = off_map - outside
    unlisted = outside - sum(group.vehicles for group in facts.elsewhere)
    remarks = [
        f"{counted(outside, 'vehicle')} {be(outside)} registered to an address outside Washington." if outside else "",
        f"{counted(rest, 'vehicle')} {be(rest)} on no map: the county is blank or none of Washington's."
        if rest > 0
        else "",
    ]
    rows = [(place(group.name, "WA"), *split(group), share(group.vehicles, facts.vehicles)) for group in facts.counties]
    rows += [
        (f"Outside: {group.of}", *split(group), share(group.vehicles, facts.vehicles)) for group in facts.elsewhere
    ]
    return Figure(
        id="map",
        finding=f"{most} County has {share(drawn[most], facts.vehicles)} of them" if known else "No county is known",
        of="Vehicles by county of the registered owner",
        size="major",
        remark=" ".join(filter(None, remarks)),
        picture={
            "kind": "map",
            "values": [{"name": shape, "value": vehicles} for shape, vehicles in drawn.items() if vehicles],
            "steps": steps(list(drawn.values())),
        }
        if known
        else None,
        why_not=NOTHING if not facts.vehicles else "There is nothing to draw: no vehicle has a county of Washington.",
        table=Table(
            caption="Vehicles by county of Washington, then by other states and provinces",
            head=("County", "Vehicles", *SPLIT, "Share"),
            rows=rows,
            note=f"And {counted(unlisted, 'vehicle')} in rarer states and provinces." if unlisted else "",
        ),
    )


def counties(facts: Facts) -> Figure:
    shown = [group for group in facts.counties if group.name][:BARS]
    head = sum(group.vehicles for group in shown[:3])
    known = f"The first three together have {share(head, facts.vehicles)}" if len(shown) > 3 else "By county"
    return Figure(
        id="counties",
        finding=known,
        of=f"Vehicles in the {len(shown)} counties with most" if shown else "Vehicles by county",
        size="minor",
        picture=bars(shown, lambda group: place(group.name, "WA")),
        why_not=NOTHING if not facts.vehicles else "There is nothing to draw: no vehicle has a county of Washington.",
        table=split_table("The same counties", "County", shown, lambda group: place(group.name, "WA")),
    )


def makes(facts: Facts) -> Figure:
    first = facts.makes[:1]
    return Figure(
        id="makes",
        finding=f"{name(first[0].name)} leads with {share(first[0].vehicles, facts.vehicles)}"
        if first
        else "No makes yet",
        of=f"Vehicles of the {BARS} most common of {counted(facts.how_many_makes, 'make')}"
        if facts.how_many_makes > BARS
        else "Vehicles by make",
        picture=bars(facts.makes[:BARS], lambda group: name(group.name)),
        table=split_table(
            "Vehicles by make, the most common first",
            "Make",
            facts.makes,
            lambda group: name(group.name),
            note=and_more(facts.how_many_makes, len(facts.makes), "make"),
        ),
    )


def models(facts: Facts) -> Figure:
    first = facts.models[:1]
    return Figure(
        id="models",
        finding=f"{_model(first[0])} is the most common model" if first else "No models yet",
        of=f"Vehicles of the {BARS} most common of {counted(facts.how_many_models, 'model')}"
        if facts.how_many_models > BARS
        else "Vehicles by model",
        picture=bars(facts.models[:BARS], _model),
        table=Table(
            caption="Vehicles by make and model, the most common first",
            head=("Model", "Vehicles", *SPLIT, "Model years"),
            rows=[
                (_model(group), *split(group), _from_to(group.first_model_year, group.last_model_year))
                for group in facts.models
            ],
            note=and_more(facts.how_many_models, len(facts.models), "model"),
        ),
    )


def model_years(facts: Facts) -> Figure:
    most = max(facts.model_years, key=lambda year: year.vehicles, default=None)
    finding = "No model years yet"
    if most:
        finding = (
            f"{share(most.battery_electric, most.vehicles)} of model year {most.name}, the most common, "
            f"{'runs' if most.vehicles == 1 else 'run'} on batteries alone"
        )
    by_year = {int(group.name or 0): group for group in facts.model_years}
    years = _years(by_year)
    return Figure(
        id="years",
        finding=finding,
        of="Vehicles by model year: battery electric against plug-in hybrid",
        size="wide",
        picture={
            "kind": "stack",
            "names": [str(year) for year in years],
            "x": "Model year",
            "y": "Vehicles",
            "series": [
                {"name": BATTERY, "color": "battery", "data": _of(years, by_year, "battery_electric")},
                {"name": HYBRID, "color": "hybrid", "data": _of(years, by_year, "plug_in_hybrid")},
            ],
        }
        if years
        else None,
        table=Table(
            caption="Vehicles by model year, the latest first",
            head=("Model year", "Vehicles", *SPLIT, "Battery electric, share"),
            rows=[
                (name(group.name), *split(group), share(group.battery_electric, group.vehicles))
                for group in reversed(facts.model_years)
            ],
        ),
    )


def known_ranges(facts: Facts) -> Figure:
    known = sum(one.known for one in facts.ranges)
    years = _years(one.model_year for one in facts.ranges)
    by_year = {year: [one for one in facts.ranges if one.model_year == year] for year in years}
    return Figure(
        id="known-ranges",
        finding=f"Range is known for {share(known, facts.vehicles)} of the vehicles"
        if facts.vehicles
        else "No ranges yet",
        of="Vehicles by model year: range known, or not researched",
        picture={
            "kind": "stack",
            "names": [str(year) for year in years],
            "x": "Model year",
            "y": "Vehicles",
            "series": [
                {"name": "Known", "color": "gain", "data": [sum(one.known for one in by_year[y]) for y in years]},
                {
                    "name": "Not researched",
                    "color": "neutral",
                    "data": [sum(one.vehicles - one.known for one in by_year[y]) for y in years],
                },
            ],
        }
        if years
        else None,
        table=Table(
            caption="Vehicles whose range is known, by model year and type, the latest first",
            head=("Model year", "Type", "Vehicles", "Range known", "Not researched"),
            rows=[
                (str(one.model_year), _type(one), one.vehicles, one.known, one.vehicles - one.known)
                for one in reversed(facts.ranges)
            ],
        ),
    )


def median_ranges(facts: Facts) -> Figure:
    told = [one for one in facts.ranges if one.known >= ENOUGH and 2 * one.known >= one.vehicles]
    years = _years(one.model_year for one in told)
    last = next((one for one in reversed(told) if one.battery_electric), None)
    finding = "Too few ranges are known of battery electrics"
    if last and last.median is not None:
        finding = f"Battery electrics of {last.model_year}: a median {round(last.median):,} miles"
    medians = {(one.model_year, one.battery_electric): one.median for one in told}
    return Figure(
        id="median-ranges",
        finding=finding,
        of="Median of the known ranges on battery alone by model year, in miles",
        remark=f"Drawn only where the range of half of the vehicles, and of {ENOUGH}, is known.",
        picture={
            "kind": "lines",
            "names": [str(year) for year in years],
            "x": "Model year",
            "y": "Miles",
            "series": [
                {"name": BATTERY, "color": "battery", "data": [medians.get((year, True)) for year in years]},
                {"name": HYBRID, "color": "hybrid", "data": [medians.get((year, False)) for year in years]},
            ],
        }
        if years
        else None,
        why_not="There is nothing to draw: of no model year is the range of enough vehicles known.",
        table=Table(
            caption="Known ranges on battery alone, in miles, by model year and type, the latest first",
            head=("Model year", "Type", "Range known", "Lowest", "Median", "Highest"),
            rows=[
                (str(one.model_year), _type(one), one.known, one.lowest, one.median, one.highest)
                for one in reversed(facts.ranges)
            ],
        ),
    )


def steps(values: Sequence[int]) -> list[int]:
    """Return where the map's shades begin: up to five round numbers (1, 2 or 5 times a power of ten) near quantiles."""
    some = sorted(value for value in values if value)
    if not some:
        return []
    found = {1}
    for fifth in (1, 2, 3, 4):
        value = some[len(some) * fifth // 5]
        power = 10 ** (len(str(value)) - 1)
        found.add(max(step * power for step in (1, 2, 5) if step * power <= value))
    return sorted(found)


def _model(group: Group) -> str:
    return f"{name(group.of)} {name(group.name, '(model not stated)')}"


def _from_to(first: int | None, last: int | None) -> str:
    return str(first) if first == last else f"{first}{DASH}{last}"


def _of(years: Iterable[int], by_year: dict[int, Group], what: str) -> list[int]:
    return [getattr(by_year[year], what) if year in by_year else 0 for year in years]


def _years(some: Iterable[int]) -> list[int]:
    """Return every year from the first to the last, so that a year without vehicles shows as a gap."""
    found = set(some)
    return list(range(min(found), max(found) + 1)) if found else []


def _type(one: Range) -> str:
    return BATTERY if one.battery_electric else HYBRID
