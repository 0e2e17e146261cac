"""What the report tells, asked of the database: every sum is made by the server, every list has an end."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from evdata.views import BATTERY_ELECTRIC

if TYPE_CHECKING:
    from psycopg2.extensions import cursor as Cursor  # noqa: N812

VIEWS: Final = ("ev_by_county", "ev_by_make_model", "ev_by_model_year", "ev_by_range", "ev_growth", "ev_moves")

# Names longer than this are cut, so that no value of the source makes the page long. One more is asked for, to know.
NAME_LENGTH: Final = 200
_CUT: Final = NAME_LENGTH + 1
VERSIONS, RUNS, REASONS = 400, 12, 8
COUNTIES, STATES, MAKES, MODELS, MOVES = 100, 60, 50, 100, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A published version, and how it differs from the one before it."""

    dataset_version: datetime
    vehicles: int
    arrived: int
    changed: int
    departed: int
    rejected: int  # rows
    kept: int  # vehicles

    @property
    def loaded(self) -> int:
        """Rows of the version that were loaded."""
        return self.vehicles - self.kept

    @property
    def source(self) -> int:
        """Rows that the source sent."""
        return self.loaded + self.rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Vehicles that share something: `name` is a county, a make, a make's model or a model year; None is blank."""

    name: str | None
    vehicles: int
    battery_electric: int
    plug_in_hybrid: int
    of: str | None = None  # the make of a model, the state of a county outside Washington
    first_model_year: int | None = None
    last_model_year: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Known ranges, in miles, of one model year and one type of vehicle."""

    model_year: int
    battery_electric: bool
    vehicles: int
    known: int
    lowest: int | None
    median: float | None
    highest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Vehicles that a version has in another county or state than the version before it."""

    from_county: str | None
    from_state: str
    to_county: str | None
    to_state: str
    vehicles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """Vehicles that came to and went from one county of Washington by moving."""

    county: str | None
    came: int
    went: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An execution that came as far as publishing."""

    dataset_version: datetime
    status: str
    extracted_at: datetime | None
    finished_at: datetime
    source: int | None
    loaded: int | None
    rejected: int | None
    kept: int | None
    warnings: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the report tells. Groups come largest first, versions oldest first, runs newest first."""

    versions: tuple[Version, ...] = ()
    counties: tuple[Group, ...] = ()  # of Washington
    elsewhere: tuple[Group, ...] = ()  # other states
    outside: int = 0  # vehicles of all other states, of those beyond the list too
    makes: tuple[Group, ...] = ()
    models: tuple[Group, ...] = ()
    how_many_makes: int = 0
    how_many_models: int = 0
    model_years: tuple[Group, ...] = ()  # by year
    ranges: tuple[Range, ...] = ()  # by year
    moves: tuple[Move, ...] = ()
    moved: int = 0
    net_moves: tuple[Net, ...] = ()  # most gained first
    runs: tuple[Run, ...] = ()
    refused: int = 0
    reasons: tuple[tuple[str, int], ...] = ()  # why rows of the present version were rejected

    @property
    def version(self) -> Version | None:
        """The version that stands in the table."""
        return self.versions[-1] if self.versions else None

    @property
    def before(self) -> Version | None:
        """The version before it."""
        return self.versions[-2] if len(self.versions) > 1 else None

    @property
    def vehicles(self) -> int:
        return sum(year.vehicles for year in self.model_years)

    @property
    def battery_electric(self) -> int:
        return sum(year.battery_electric for year in self.model_years)


def read(cursor: "Cursor", *, seconds: float | None = None) -> Facts:
    """Ask for everything, in `seconds` at most.

    In a REPEATABLE READ transaction all of it is of one version, whatever is published meanwhile.
    """
    ask = _Asker(cursor, seconds)
    versions = ask(
        "SELECT dataset_version, vehicles, arrived, changed, departed, rejected, kept FROM ev_growth "
        "ORDER BY dataset_version DESC LIMIT %s",
        VERSIONS,
    )
    runs = ask(
        "SELECT dataset_version, status, extracted_at, finished_at, source, loaded, rejected, kept, warnings "
        "FROM pipeline_run ORDER BY finished_at DESC LIMIT %s",
        RUNS,
    )
    ((refused,),) = ask("SELECT count(*) FROM pipeline_run WHERE status = 'refused'")
    reasons = ask(
        "SELECT left(reason, %s), count(*) FROM rejected_row CROSS JOIN unnest(reasons) AS reason WHERE execution_id = "
        "(SELECT execution_id FROM pipeline_run WHERE status = 'published' "
        "ORDER BY dataset_version DESC, finished_at DESC LIMIT 1) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT %s",
        _CUT,
        REASONS,
    )
    places = ask(
        "WITH county AS MATERIALIZED (SELECT * FROM ev_by_county) "
        "(SELECT true, 0, left(county, %s), 'WA', vehicles, battery_electric, plug_in_hybrid FROM county "
        "WHERE state = 'WA' ORDER BY vehicles DESC, county LIMIT %s) UNION ALL "
        "(SELECT false, (sum(sum(vehicles)) OVER ())::bigint, NULL, state, sum(vehicles)::bigint, "
        "sum(battery_electric)::bigint, sum(plug_in_hybrid)::bigint FROM county WHERE state <> 'WA' "
        "GROUP BY state ORDER BY 5 DESC, 4 LIMIT %s)",
        _CUT,
        COUNTIES,
        STATES,
    )
    makers = ask(
        "WITH model AS MATERIALIZED (SELECT * FROM ev_by_make_model), made AS ("
        "SELECT make, sum(vehicles)::bigint AS vehicles, sum(battery_electric)::bigint AS battery_electric, "
        "sum(plug_in_hybrid)::bigint AS plug_in_hybrid, min(first_model_year) AS first_model_year, "
        "max(last_model_year) AS last_model_year FROM model GROUP BY make) "
        "(SELECT true, count(*) OVER (), left(make, %(cut)s), NULL, vehicles, battery_electric, plug_in_hybrid, "
        "first_model_year, last_model_year FROM made ORDER BY vehicles DESC, make LIMIT %(makes)s) UNION ALL "
        "(SELECT false, count(*) OVER (), left(model_name, %(cut)s), left(make, %(cut)s), vehicles, battery_electric, "
        "plug_in_hybrid, first_model_year, last_model_year FROM model "
        "ORDER BY vehicles DESC, make, model_name LIMIT %(models)s)",
        cut=_CUT,
        makes=MAKES,
        models=MODELS,
    )
    model_years = ask(
        "SELECT model_year::text, vehicles, battery_electric, plug_in_hybrid FROM ev_by_model_year ORDER BY model_year"
    )
    ranges = ask(
        "SELECT model_year, vehicle_type = %s, vehicles, range_known, lowest_range, median_range, highest_range "
        "FROM ev_by_range ORDER BY model_year, 2 DESC",
        BATTERY_ELECTRIC,
    )
    ((moved, moves, net),) = ask(
        "WITH moved AS MATERIALIZED (SELECT * FROM ev_moves WHERE dataset_version = %(version)s) SELECT "
        "(SELECT coalesce(sum(vehicles), 0)::bigint FROM moved), "
        "(SELECT coalesce(json_agg(most), '[]') FROM (SELECT left(from_county, %(cut)s) AS from_county, from_state, "
        "left(to_county, %(cut)s) AS to_county, to_state, vehicles FROM moved "
        "ORDER BY vehicles DESC, from_state, from_county, to_state, to_county LIMIT %(moves)s) AS most), "
        "(SELECT coalesce(json_agg(net), '[]') FROM (SELECT left(county, %(cut)s) AS county, "
        "sum(came)::bigint AS came, sum(went)::bigint AS went FROM ("
        "SELECT to_county AS county, vehicles AS came, 0 AS went FROM moved WHERE to_state = 'WA' UNION ALL "
        "SELECT from_county, 0, vehicles FROM moved WHERE from_state = 'WA') AS both_ways "
        "GROUP BY both_ways.county ORDER BY sum(came) - sum(went) DESC, 1 LIMIT %(counties)s) AS net)",
        version=versions[0][0] if versions else None,
        cut=_CUT,
        moves=MOVES,
        counties=COUNTIES,
    )
    split = ("vehicles", "battery_electric", "plug_in_hybrid")
    years = ("first_model_year", "last_model_year")
    return Facts(
        versions=tuple(_each(Version, _names(Version), reversed(versions))),
        counties=tuple(_each(Group, ("name", "of", *split), [place[2:] for place in places if place[0]])),
        elsewhere=tuple(_each(Group, ("name", "of", *split), [place[2:] for place in places if not place[0]])),
        outside=next((place[1] for place in places if not place[0]), 0),
        makes=tuple(_each(Group, ("name", "of", *split, *years), [maker[2:] for maker in makers if maker[0]])),
        models=tuple(_each(Group, ("name", "of", *split, *years), [maker[2:] for maker in makers if not maker[0]])),
        how_many_makes=next((maker[1] for maker in makers if maker[0]), 0),
        how_many_models=next((maker[1] for maker in makers if not maker[0]), 0),
        model_years=tuple(_each(Group, ("name", *split), model_years)),
        ranges=tuple(_each(Range, _names(Range), ranges)),
        moves=tuple(Move(**move) for move in moves),
        moved=moved,
        net_moves=tuple(Net(**one) for one in net),
        runs=tuple(_each(Run, _names(Run), runs)),
        refused=refused,
        reasons=tuple((reason, rows) for reason, rows in reasons),
    )


class _Asker:
    """Asks one query after another, all together within so many seconds."""

    def __init__(self, cursor: "Cursor", seconds: float | None) -> None:
        self._cursor = cursor
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def __call__(self, query: str, *values: Any, **named: Any) -> list[tuple[Any, ...]]:
        if self._deadline is not None:
            left = max(int((self._deadline - time.monotonic()) * 1000), 1)
            self._cursor.execute("SELECT set_config('statement_timeout', %s, true)", (f"{left}ms",))
        self._cursor.execute(query, named or values or None)
        return self._cursor.fetchall()


def _names(kind: type) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def _each(kind: Any, names: tuple[str, ...], rows: Any) -> Any:
    return (kind(**dict(zip(names, row, strict=True))) for row in rows)
