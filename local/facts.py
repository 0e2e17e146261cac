"""A few things that the loaded table says, for the end of a local run."""

import contextlib
from typing import Any

from local.postgres import Database


def facts(database: Database) -> list[str]:
    """Three sentences about the vehicles in the table; none while there are no vehicles."""
    with contextlib.closing(database.session(readonly=True)) as connection, connection.cursor() as cursor:

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query)
            return cursor.fetchall()

        if rows("SELECT to_regclass('electric_vehicle_us') IS NULL")[0][0]:
            return []
        ((total, electric, hybrid, known, farthest),) = rows(
            "SELECT count(*), count(*) FILTER (WHERE vehicle_type LIKE '%(BEV)'), "
            "count(*) FILTER (WHERE vehicle_type LIKE '%(PHEV)'), count(electric_range), max(electric_range) "
            "FROM electric_vehicle_us"
        )
        if not total:
            return []
        makes = rows(
            "SELECT make, count(*) FROM electric_vehicle_us GROUP BY make ORDER BY count(*) DESC, make LIMIT 3"
        )
        counties = rows(
            "SELECT county, count(*) FROM electric_vehicle_us WHERE county IS NOT NULL AND state = 'WA' "
            "GROUP BY county ORDER BY count(*) DESC, county LIMIT 1"
        )
    found = [
        f"{electric:,} of {total:,} vehicles run on batteries alone, {hybrid:,} are plug-in hybrids.",
        f"{makes[0][0]} leads with {makes[0][1]:,}"
        + (f", before {' and '.join(f'{make} ({count:,})' for make, count in makes[1:])}." if makes[1:] else "."),
    ]
    if counties:
        county, count = counties[0]
        found.append(f"{count / total:.0%} are registered in {county} County: {count:,}.")
    else:
        found.append(f"The range is known of {known:,} vehicles; the farthest goes {farthest or 0:,} miles.")
    return found
