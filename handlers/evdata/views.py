"""The views of the electric vehicles' contract: the common questions, answered in the database.

They stand over the table `electric_vehicle_us`, its history, and the runs, which `dataset.py` and the migrations make.
"""

# ruff: noqa: S608 - the queries are made of the constants below and nothing else

from typing import Final

from evdata.contract import View, ViewColumn

# What the source writes as a vehicle's type.
BATTERY_ELECTRIC: Final = "Battery Electric Vehicle (BEV)"
PLUG_IN_HYBRID: Final = "Plug-in Hybrid Electric Vehicle (PHEV)"

_VEHICLES: Final = "count(*) AS vehicles"
_SPLIT: Final = (
    f"count(*) FILTER (WHERE vehicle_type = '{BATTERY_ELECTRIC}') AS battery_electric, "
    f"count(*) FILTER (WHERE vehicle_type = '{PLUG_IN_HYBRID}') AS plug_in_hybrid"
)


def _column(name: str, sql_type: str, comment: str) -> ViewColumn:
    return ViewColumn(name=name, sql_type=sql_type, comment=comment)


_COUNT: Final = _column("vehicles", "bigint", "Vehicles in the table now")
_COUNTS: Final = (
    _COUNT,
    _column("battery_electric", "bigint", "Of these, vehicles that run on batteries alone (BEV)"),
    _column("plug_in_hybrid", "bigint", "Of these, plug-in hybrids (PHEV)"),
)
_COUNTY: Final = _column("county", "text", "County of the registered owner; NULL where the source leaves it blank")
_STATE: Final = _column(
    "state", "text", "State of the registered owner, two letters; counties share names across states"
)
_MODEL_YEAR: Final = _column("model_year", "smallint", "Model year of the vehicles")


def _population(name: str, comment: str, *by: ViewColumn) -> View:
    """The present population by some columns of the table."""
    columns = ", ".join(column.name for column in by)
    return View(
        name=name,
        comment=comment,
        columns=(*by, *_COUNTS),
        query=f"SELECT {columns}, {_VEHICLES}, {_SPLIT} FROM electric_vehicle_us GROUP BY {columns}",
    )


VIEWS: Final = (
    _population("ev_by_county", "Vehicles in the table now, by county of the registered owner", _COUNTY, _STATE),
    _population(
        "ev_by_city",
        "Vehicles in the table now, by city of the registered owner",
        _STATE,
        _COUNTY,
        _column("city", "text", "City of the registered owner; NULL where the source leaves it blank"),
    ),
    View(
        name="ev_by_make_model",
        comment="Vehicles in the table now, by make and model",
        columns=(
            _column("make", "text", "Manufacturer, upper case as in the source"),
            _column("model_name", "text", "Model; NULL where the source leaves it blank"),
            *_COUNTS,
            _column("first_model_year", "smallint", "Earliest model year among them"),
            _column("last_model_year", "smallint", "Latest model year among them"),
        ),
        query=f"SELECT make, model_name, {_VEHICLES}, {_SPLIT}, min(model_year) AS first_model_year, "
        "max(model_year) AS last_model_year FROM electric_vehicle_us GROUP BY make, model_name",
    ),
    _population("ev_by_model_year", "Vehicles in the table now, by model year: battery against hybrid", _MODEL_YEAR),
    View(
        name="ev_by_range",
        comment="Range on battery alone of the vehicles in the table now, where it is known, and how often it is not",
        columns=(
            _MODEL_YEAR,
            _column("vehicle_type", "text", "Battery electric (BEV) or plug-in hybrid (PHEV), as in the source"),
            _COUNT,
            _column("range_known", "bigint", "Of these, vehicles whose range is known"),
            _column("range_unknown", "bigint", "Of these, vehicles whose range the source has not researched"),
            _column("lowest_range", "integer", "Lowest known range, miles; NULL where none is known"),
            _column("median_range", "double precision", "Median of the known ranges, miles; NULL where none is known"),
            _column("highest_range", "integer", "Highest known range, miles; NULL where none is known"),
        ),
        query=f"SELECT model_year, vehicle_type, {_VEHICLES}, count(electric_range) AS range_known, "
        "count(*) - count(electric_range) AS range_unknown, min(electric_range) AS lowest_range, "
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY electric_range) AS median_range, "
        "max(electric_range) AS highest_range FROM electric_vehicle_us GROUP BY model_year, vehicle_type",
    ),
    _population(
        "ev_by_utility",
        "Vehicles in the table now, by the electric utilities that serve the address",
        _column("electric_utility", "text", "Electric utilities, separated by | and || as in the source; NULL if none"),
    ),
    _population(
        "ev_by_legislative_district",
        "Vehicles in the table now, by Washington legislative district",
        _column("legislative_district", "smallint", "Legislative district, 1 to 49; NULL outside Washington"),
    ),
    View(
        name="ev_growth",
        comment="What each published version brought, by the table and its history: one row a version. "
        "Runs that were refused, superseded or found nothing new are not in it",
        columns=(
            _column("dataset_version", "timestamptz", "Version of the dataset: when the source last updated its rows"),
            _column("vehicles", "bigint", "Vehicles in that version"),
            _column("arrived", "bigint", "Vehicles that were not in the version before, returning ones included"),
            _column(
                "changed",
                "bigint",
                "Vehicles that read otherwise in the version before, numbers given to another vehicle included",
            ),
            _column("departed", "bigint", "Vehicles of the version before that were no longer in it"),
            _column("rejected", "bigint", "Rows of that version that were not loaded; they are in rejected_row"),
            _column("kept", "bigint", "Of its vehicles, those that have an earlier row because theirs was rejected"),
        ),
        # From the history, not from the runs' counts: a version that was published twice, corrected the second time,
        # is one version, and no sum of its two runs says what it brought.
        query="WITH published AS ("
        "SELECT DISTINCT ON (dataset_version) dataset_version, loaded, rejected, kept FROM pipeline_run "
        "WHERE status = 'published' ORDER BY dataset_version, finished_at DESC"
        "), began AS ("
        "SELECT valid_from, count(*) AS stays FROM (SELECT valid_from FROM electric_vehicle_us "
        "UNION ALL SELECT valid_from FROM electric_vehicle_us_history) AS stay GROUP BY valid_from"
        "), ended AS ("
        "SELECT valid_to, count(*) FILTER (WHERE change = 'updated') AS changed, "
        "count(*) FILTER (WHERE change = 'removed') AS departed FROM electric_vehicle_us_history GROUP BY valid_to"
        ") "
        "SELECT dataset_version, loaded + kept AS vehicles, coalesce(stays, 0) - coalesce(changed, 0) AS arrived, "
        "coalesce(changed, 0) AS changed, coalesce(departed, 0) AS departed, rejected, kept FROM published "
        "LEFT JOIN began ON valid_from = dataset_version LEFT JOIN ended ON valid_to = dataset_version",
    ),
    View(
        name="ev_kept",
        comment="Vehicles in the table with an earlier row, because what the newest version has of them was rejected",
        columns=(
            _column("dol_vehicle_id", "bigint", "The vehicle"),
            _column("last_confirmed", "timestamptz", "Version that last had the vehicle in a row that was loaded"),
            _column("kept_since", "timestamptz", "First of the versions since then, in all of which it was rejected"),
            _column("reasons", "text[]", "Why the newest version's rows of the vehicle were rejected"),
        ),
        # Versions are numbered; a vehicle is kept through numbers that follow one another. What counts of a version is
        # its last publishing. A vehicle whose row a later copy of the same version rejected was confirmed by an earlier
        # copy: valid_from says so.
        query="WITH published AS ("
        "SELECT dataset_version, execution_id, row_number() OVER (ORDER BY dataset_version) AS number FROM ("
        "SELECT DISTINCT ON (dataset_version) dataset_version, execution_id FROM pipeline_run "
        "WHERE status = 'published' ORDER BY dataset_version, finished_at DESC) AS last_run"
        "), kept AS ("
        "SELECT key, number, number - row_number() OVER (PARTITION BY key ORDER BY number) AS stretch "
        "FROM (SELECT DISTINCT key, number FROM rejected_row JOIN published USING (execution_id) WHERE kept) AS once"
        "), still AS ("
        "SELECT key, min(number) AS first, max(number) AS last FROM kept GROUP BY key, stretch "
        "HAVING max(number) = (SELECT max(number) FROM published)"
        ") "
        "SELECT dol_vehicle_id, greatest(before.dataset_version, valid_from) AS last_confirmed, "
        "since.dataset_version AS kept_since, "
        "(SELECT array_agg(DISTINCT reason ORDER BY reason) FROM rejected_row r CROSS JOIN unnest(r.reasons) AS reason "
        "WHERE r.execution_id = latest.execution_id AND r.key = still.key) AS reasons "
        "FROM still JOIN electric_vehicle_us ON dol_vehicle_id = still.key::bigint "
        "JOIN published AS since ON since.number = still.first JOIN published AS latest ON latest.number = still.last "
        "LEFT JOIN published AS before ON before.number = still.first - 1",
    ),
    View(
        name="ev_moves",
        comment="Vehicles whose county or state changed, by the version with which it did. A vehicle that left and "
        "came back elsewhere has not moved with any version, nor has a number that was given to another vehicle",
        columns=(
            _column(
                "dataset_version", "timestamptz", "Version of the dataset that has them in another county or state"
            ),
            _column("from_county", "text", "County before; NULL where the source left it blank"),
            _column("from_state", "text", "State before, two letters"),
            _column("to_county", "text", "County since; NULL where the source leaves it blank"),
            _column("to_state", "text", "State since, two letters"),
            _column("vehicles", "bigint", "Vehicles that moved so"),
        ),
        query="WITH stay AS ("
        "SELECT dol_vehicle_id, vin_code, county, state, valid_from FROM electric_vehicle_us "
        "UNION ALL SELECT dol_vehicle_id, vin_code, county, state, valid_from FROM electric_vehicle_us_history"
        ") "
        "SELECT before.valid_to AS dataset_version, before.county AS from_county, before.state AS from_state, "
        "since.county AS to_county, since.state AS to_state, count(*) AS vehicles "
        "FROM electric_vehicle_us_history AS before JOIN stay AS since "
        "ON since.dol_vehicle_id = before.dol_vehicle_id AND since.valid_from = before.valid_to "
        "WHERE before.change = 'updated' AND since.vin_code = before.vin_code "
        "AND (since.county, since.state) IS DISTINCT FROM (before.county, before.state) "
        "GROUP BY before.valid_to, before.county, before.state, since.county, since.state",
    ),
)
