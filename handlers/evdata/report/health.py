"""The pipeline about itself: what came, what was rejected and why, when, and the last runs: HTML, no picture."""

import html
from datetime import UTC

from evdata.report.facts import Facts, Run
from evdata.report.words import Table, counted, day, minute, name, share

STATUSES = {
    "published": "published",
    "unchanged": "nothing new",
    "superseded": "older than what stands",
    "refused": "refused by a guard",
}


def finding(facts: Facts) -> str:
    version = facts.version
    if not version:
        return "No version has been published yet"
    if not version.rejected:
        return "Every row that the source sent is in the table"
    found = f"{counted(version.rejected, 'row')} of {version.source:,} could not be loaded"
    return f"{found}; {counted(version.kept, 'vehicle')} kept an earlier row" if version.kept else found


def to_html(facts: Facts) -> str:
    """Return the checks, the reasons of rejected rows if there are any, and the last runs."""
    version = facts.version
    published = next((run for run in facts.runs if run.status == "published"), None)
    checks = [_check("Versions published", f"{len(facts.versions):,}", _span(facts))]
    if version:
        checks.append(_check("Rows from the source", f"{version.source:,}", f"{version.loaded:,} loaded"))
        checks.append(
            _check(
                "Rows rejected", f"{version.rejected:,}", f"{share(version.rejected, version.source)} of this version"
            )
        )
        checks.append(_check("Vehicles kept", f"{version.kept:,}", "With an earlier row, because theirs was rejected"))
    if published:
        checks.append(_check("Published", f"{minute(published.finished_at)} UTC", _lag(published)))
    checks.append(_check("Versions refused by a guard", f"{facts.refused:,}", "Since the pipeline was set up"))
    if published:
        broken = sum(1 for count in published.warnings.values() if count)
        checks.append(_check("Expectations broken", f"{broken:,}", f"Of {len(published.warnings):,} across columns"))
    tables = []
    if facts.reasons:
        tables.append(
            Table(
                caption="Why rows of this version were rejected, the most common reasons first",
                head=("Reason", "Rows"),
                rows=[(name(reason), rows) for reason, rows in facts.reasons],
            )
        )
    if published and any(published.warnings.values()):
        tables.append(
            Table(
                caption="Expectations across columns that rows of this version break; the rows are loaded",
                head=("Expectation", "Rows"),
                rows=[(name(what), rows) for what, rows in published.warnings.items() if rows],
            )
        )
    tables.append(
        Table(
            caption="The last runs that came as far as publishing, times in UTC",
            head=("Ended", "Version", "Outcome", "Rows from the source", "Loaded", "Rejected", "Vehicles kept"),
            rows=[_run(run) for run in facts.runs],
            note="" if facts.runs else "There has been none.",
        )
    )
    shown = "".join(
        f'<div class="behind" role="region" tabindex="0" aria-label="{html.escape(table.caption)}">'
        f"{table.to_html()}</div>"
        for table in tables
    )
    title = html.escape(finding(facts))
    return f'<h3>{title}</h3><dl class="checks">{"".join(checks)}</dl><div class="records">{shown}</div>'


def _check(what: str, figure: str, more: str) -> str:
    return (
        f"<div><dt>{html.escape(what)}</dt><dd>{html.escape(figure)}"
        f"{f'<small>{html.escape(more)}</small>' if more else ''}</dd></div>"
    )


def _run(run: Run) -> tuple[str, str, str, int | None, int | None, int | None, int | None]:
    outcome = STATUSES.get(run.status, run.status)
    return minute(run.finished_at), day(run.dataset_version), outcome, run.source, run.loaded, run.rejected, run.kept


def _span(facts: Facts) -> str:
    return f"Since that of {day(facts.versions[0].dataset_version)}" if facts.versions else ""


def _lag(run: Run) -> str:
    """How long after the source had it, in the greatest unit that tells."""
    hours = (run.finished_at - run.dataset_version).total_seconds() / 3600
    if hours < 0:
        return ""
    after = counted(round(hours / 24), "day") if hours >= 48 else counted(round(hours), "hour")
    return f"{after} after the source's update" if round(hours) else "Within the hour of the source's update"


def as_of(facts: Facts) -> str:
    """Return the line above the headline. page.js adds how old the version is on the day the page is read."""
    if not facts.version:
        return "As of no version yet"
    moment = facts.version.dataset_version
    return (
        f'As of <time id="version" datetime="{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}">{day(moment)}</time>, '
        'when the source last updated its rows<span id="age"></span>'
    )
