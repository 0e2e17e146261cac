"""What the present version changed, in pictures: arrivals, departures, and moves between counties."""

from evdata.report.facts import Facts, Version
from evdata.report.figure import BARS, Figure
from evdata.report.words import Table, counted, day, place, signed


def flows(facts: Facts) -> Figure:
    """What the present version brought against the one before it."""
    version, before = facts.version, facts.before
    picture = None
    finding, why_not = (
        "Nothing to compare with yet",
        "The next version that is published will be compared with this one.",
    )
    if version and before:
        finding = f"{version.arrived:,} arrived and {version.departed:,} departed"
        picture = {
            "kind": "bars",
            "x": "Vehicles",
            "names": ["Arrived", "Departed", "Changed"],
            "series": [
                {
                    "name": "Vehicles",
                    "color": ["gain", "loss", "neutral"],
                    "data": [version.arrived, version.departed, version.changed],
                }
            ],
        }
    return Figure(
        id="flows",
        finding=finding,
        of=f"Vehicles of this version against that of {day(before.dataset_version)}" if before else "Vehicles",
        remark="Arrived: newly on the list or back on it. Departed: sold out of state, scrapped or not renewed, "
        "but not with a row that was rejected. "
        "Changed: still there, with another address, model or other detail.",
        picture=picture,
        why_not=why_not,
        size="wide",
        table=Table(
            caption="This version against the version before it",
            head=("What", "Vehicles"),
            rows=_balance(version, before) if version and before else [],
        ),
    )


def moves(facts: Facts) -> Figure:
    shown = facts.moves[:BARS]
    labels = [f"{place(m.from_county, m.from_state)} → {place(m.to_county, m.to_state)}" for m in facts.moves]
    return Figure(
        id="moves",
        finding=f"{counted(facts.moved, 'vehicle')} moved to another county"
        if facts.moved
        else "No moves between counties",
        of=f"Vehicles by county before and since, the {len(shown)} most common moves"
        if shown
        else "Vehicles that moved",
        picture={
            "kind": "bars",
            "x": "Vehicles",
            "names": labels[:BARS],
            "series": [{"name": "Vehicles", "color": "battery", "data": [move.vehicles for move in shown]}],
        }
        if shown
        else None,
        why_not="No vehicle of this version has another county than it had in the version before it.",
        table=Table(
            caption="Vehicles that moved with this version, by county before and since",
            head=("From", "To", "Vehicles"),
            rows=[
                (place(m.from_county, m.from_state), place(m.to_county, m.to_state), m.vehicles) for m in facts.moves
            ],
            note=_rest(facts.moved, sum(move.vehicles for move in facts.moves)),
        ),
    )


def net_moves(facts: Facts) -> Figure:
    known = [net for net in facts.net_moves if net.county]
    changed = [net for net in known if net.came != net.went]
    by_size = sorted(changed, key=lambda net: -abs(net.came - net.went))[:BARS]
    shown = sorted(by_size, key=lambda net: net.went - net.came)
    finding = "No county gained or lost by moves"
    if shown:
        first, last = shown[0], shown[-1]
        gained = f"{place(first.county, 'WA')} gained most" if first.came > first.went else ""
        lost = f"{place(last.county, 'WA')} lost most" if last.came < last.went else ""
        finding = f"By moves, {', '.join(filter(None, (gained, lost)))}"
    return Figure(
        id="net-moves",
        finding=finding,
        of="Vehicles that moved in less those that moved away",
        picture={
            "kind": "signed",
            "x": "Vehicles, net",
            "names": [place(net.county, "WA") for net in shown],
            "data": [net.came - net.went for net in shown],
        }
        if shown
        else None,
        why_not="No county of Washington has more or fewer vehicles by moves.",
        table=Table(
            caption="Moves to and from each county of Washington with this version, most gained first",
            head=("County", "Moved in", "Moved away", "Net"),
            rows=[(place(n.county, "WA"), n.came, n.went, signed(n.came - n.went)) for n in facts.net_moves],
        ),
    )


def _balance(version: Version, before: Version) -> list[tuple[str, int]]:
    return [
        (f"Vehicles in the version of {day(before.dataset_version)}", before.vehicles),
        ("Arrived", version.arrived),
        ("Departed", version.departed),
        (f"Vehicles in the version of {day(version.dataset_version)}", version.vehicles),
        ("Of these, changed", version.changed),
    ]


def _rest(there_are: int, shown: int) -> str:
    return f"And {counted(there_are - shown, 'vehicle')} in rarer moves." if there_are > shown else ""
