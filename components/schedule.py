"""EventBridge Scheduler expressions: what is well formed, and how long a stack may go without a run. Pure.

The AWS provider does not check them, so a wrong one would fail minutes into a deployment. The grammar:
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

# An alarm looks back seven days at most, in periods of an hour or more.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (EvaluationPeriods)
ALARM_LIMIT_HOURS: Final = 7 * 24
# A run takes minutes, its retries at most hours; a daylight saving change adds one.
LEAST_SLACK: Final = timedelta(hours=2)

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_ANY_FOUR_YEARS: Final = frozenset(range(2024, 2028))  # one leap year among them, as in any four


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        if text.upper() in self.words:
            return self.words.index(text.upper()) + self.lowest
        if not text.isdecimal() or not self.lowest <= int(text) <= self.highest:
            raise ValueError(f"{self.name} {text!r} is not in {self.lowest}-{self.highest}")
        return int(text)

    def values(self, text: str) -> frozenset[int]:
        """Return the numbers that a list of numbers, ranges and steps stands for."""
        numbers: set[int] = set()
        for item in text.split(","):
            base, slash, step = item.partition("/")
            if slash and not (step.isdecimal() and 1 <= int(step) <= self.highest):
                raise ValueError(f"{self.name} {item!r} has no step from 1 to {self.highest} after '/'")
            first, dash, last = base.partition("-")
            if base == "*":
                low, high = self.lowest, self.highest
            else:
                low = self.number(first)
                high = self.number(last) if dash else self.highest if slash else low
            if low > high:
                raise ValueError(f"{self.name} {item!r} runs backwards")
            numbers.update(range(low, high + 1, int(step) if slash else 1))
        return frozenset(numbers)


_MINUTES: Final = _Field(name="minutes", lowest=0, highest=59)
_HOURS: Final = _Field(name="hours", lowest=0, highest=23)
_DAY_OF_MONTH: Final = _Field(name="day-of-month", lowest=1, highest=31)
_MONTH: Final = _Field(name="month", lowest=1, highest=12, words=_MONTHS)
_DAY_OF_WEEK: Final = _Field(name="day-of-week", lowest=1, highest=7, words=_DAYS)
_YEAR: Final = _Field(name="year", lowest=1970, highest=2199)


def validate(expression: str) -> str:
    """Return `expression` if EventBridge Scheduler takes it and it can ever fire; raise ValueError with the reason."""
    longest_gap(expression)
    return expression


def freshness_hours(expression: str) -> int | None:
    """Return after how many hours without a successful run something is wrong: the longest gap and a quarter more.

    None when an alarm cannot look back that far, or when the schedule fires only once.
    """
    gap = longest_gap(expression)
    if gap is None:
        return None
    hours = math.ceil((gap + max(LEAST_SLACK, gap / 4)) / timedelta(hours=1))
    return hours if hours <= ALARM_LIMIT_HOURS else None


def longest_gap(expression: str) -> timedelta | None:
    """Return the longest time between two runs, None when there may never be a second one (within four years)."""
    match = re.fullmatch(r"(rate|cron|at)\(([^()]*)\)", expression)
    if not match:
        raise ValueError("it is not of the form rate(...), cron(...) or at(...)")
    kind, body = match.groups()
    return {"rate": _rate_gap, "cron": _cron_gap, "at": _at_gap}[kind](body)


def _rate_gap(body: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d*) (minute|hour|day)(s?)", body)
    if not match or (int(match[1]) == 1) == bool(match[3]):
        raise ValueError(f"rate({body}) is not a positive number and minute(s), hour(s) or day(s), as in rate(1 day)")
    return (
        int(match[1]) * {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}[match[2]]
    )


def _at_gap(body: str) -> None:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", body):
        raise ValueError(f"at({body}) is not of the form at(yyyy-mm-ddThh:mm:ss)")
    try:
        datetime.fromisoformat(body)
    except ValueError as error:
        raise ValueError(f"at({body}) is no date and time: {error}") from error


def _cron_gap(body: str) -> timedelta | None:
    fields = body.split()
    if len(fields) != 6:
        raise ValueError(f"cron has six fields (minutes hours day-of-month month day-of-week year), got {len(fields)}")
    minutes, hours, day_of_month, month, day_of_week, year = fields
    if (day_of_month == "?") == (day_of_week == "?"):
        raise ValueError("exactly one of cron's day-of-month and day-of-week must be '?'")
    times = sorted(
        timedelta(hours=hour, minutes=minute) for hour in _HOURS.values(hours) for minute in _MINUTES.values(minutes)
    )
    months = _MONTH.values(month)
    runs_on = _day_of_month(day_of_month) if day_of_week == "?" else _day_of_week(day_of_week)
    years = _YEAR.values(year) if year != "*" else _ANY_FOUR_YEARS
    days = [day for day in _all_days(years) if day.month in months and runs_on(day)]
    if not days:
        raise ValueError(f"cron({body}) never fires: no such day exists")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    gaps += [later - earlier + times[0] - times[-1] for earlier, later in pairwise(days)]
    return max(gaps, default=None)


def _all_days(years: frozenset[int]) -> list[date]:
    return [
        date(year, 1, 1) + timedelta(days=day)
        for year in sorted(years)
        for day in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
    ]


def _day_of_month(text: str) -> Callable[[date], bool]:
    if text == "L":
        return lambda day: day == _last_of_month(day)
    if text == "LW":
        return lambda day: day == _nearest_weekday(_last_of_month(day))
    if match := re.fullmatch(r"(\d+)W", text):
        wanted = _DAY_OF_MONTH.number(match[1])
        return lambda day: wanted <= _last_of_month(day).day and day == _nearest_weekday(day.replace(day=wanted))
    numbers = _DAY_OF_MONTH.values(text)
    return lambda day: day.day in numbers


def _day_of_week(text: str) -> Callable[[date], bool]:
    if text == "L":
        return lambda day: _weekday(day) == 7
    if match := re.fullmatch(r"(\w+)L", text):
        last = _DAY_OF_WEEK.number(match[1])
        return lambda day: _weekday(day) == last and (day + timedelta(days=7)).month != day.month
    if match := re.fullmatch(r"(\w+)#([1-5])", text):
        wanted, week = _DAY_OF_WEEK.number(match[1]), int(match[2])
        return lambda day: _weekday(day) == wanted and (day.day - 1) // 7 + 1 == week
    numbers = _DAY_OF_WEEK.values(text)
    return lambda day: _weekday(day) in numbers


def _weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1  # Sunday is 1


def _last_of_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def _nearest_weekday(day: date) -> date:
    """Return the weekday closest to `day` in the same month, as cron's W means it."""
    if day.isoweekday() == 6:
        return day - timedelta(days=1) if day.day > 1 else day + timedelta(days=2)
    if day.isoweekday() == 7:
        return day + timedelta(days=1) if day != _last_of_month(day) else day - timedelta(days=2)
    return day
