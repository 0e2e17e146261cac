"""Schedule expressions: EventBridge Scheduler's grammar, and the longest time between two runs."""

from datetime import timedelta

import pytest

from components import schedule

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("expression", "gap"),
    [
        ("rate(1 minute)", MINUTE),
        ("rate(5 minutes)", 5 * MINUTE),
        ("rate(1 hour)", HOUR),
        ("rate(7 days)", 7 * DAY),
        ("cron(0 6 * * ? *)", DAY),
        ("cron(*/15 * * * ? *)", 15 * MINUTE),
        ("cron(0/20 * * * ? *)", 20 * MINUTE),
        ("cron(0 6,18 * * ? *)", 12 * HOUR),
        ("cron(0 6,12 * * ? *)", 18 * HOUR),
        ("cron(0 9-17 * * ? *)", 16 * HOUR),
        ("cron(0 6 ? * MON-FRI *)", 3 * DAY),
        ("cron(0 6 ? * mon *)", 7 * DAY),
        ("cron(0 6 ? * 2,5 *)", 4 * DAY),
        ("cron(0 6 1 * ? *)", 31 * DAY),
        ("cron(0 6 1,15 * ? *)", 17 * DAY),
        ("cron(0 6 L * ? *)", 31 * DAY),
        ("cron(0 6 1W * ? *)", 33 * DAY),
        ("cron(0 6 LW * ? *)", 33 * DAY),
        ("cron(0 6 ? * 6L *)", 35 * DAY),
        ("cron(0 6 ? * TUE#2 *)", 35 * DAY),
        ("cron(0 6 ? * L *)", 7 * DAY),
        # Sunday is day 1, Saturday day 7.
        ("cron(0 6 ? * SUN *)", 7 * DAY),
        ("cron(0 6 ? * SUN,MON *)", 6 * DAY),
        ("cron(0 6 ? * 1-6 *)", 2 * DAY),
        ("cron(0 6 ? * SUN-SAT *)", DAY),
        ("cron(0 6 ? * SAT,SUN *)", 6 * DAY),
        ("cron(0 6 ? * 1#1 *)", 35 * DAY),
        ("cron(0 6 ? * SUNL *)", 35 * DAY),
        ("cron(0 6 1 JAN,JUL ? *)", 184 * DAY),
        ("cron(0 6 1 1 ? 2027-2029)", 366 * DAY),
        ("cron(0 0/8 * * ? 2027)", 8 * HOUR),
    ],
)
def test_the_longest_gap_is_known(expression: str, gap: timedelta) -> None:
    assert schedule.longest_gap(expression) == gap


@pytest.mark.parametrize("expression", ["at(2027-01-31T06:00:00)", "cron(0 6 1 1 ? 2027)", "cron(0 0 29 2 ? *)"])
def test_what_fires_once_or_hardly_ever_has_no_gap(expression: str) -> None:
    assert schedule.longest_gap(expression) is None
    assert schedule.freshness_hours(expression) is None


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("rate(5 minutes)", 3),
        ("rate(1 hour)", 3),
        ("rate(8 hours)", 10),
        ("cron(0 6 * * ? *)", 30),
        ("cron(0 6 ? * MON-FRI *)", 90),
        ("rate(5 days)", 150),
        ("rate(6 days)", None),
        ("rate(7 days)", None),
        ("cron(0 6 1 * ? *)", None),
    ],
)
def test_freshness_is_the_gap_and_a_quarter_as_far_as_an_alarm_can_look_back(
    expression: str, hours: int | None
) -> None:
    assert schedule.freshness_hours(expression) == hours


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "not of the form"),
        ("daily", "not of the form"),
        ("rate(1 day", "not of the form"),
        (" rate(1 day)", "not of the form"),
        ("rate(1 week)", r"rate\(1 week\)"),
        ("rate(2 day)", "positive number"),
        ("rate(1 hours)", "positive number"),
        ("rate(0 days)", "positive number"),
        ("rate(-1 days)", "positive number"),
        ("rate(1.5 hours)", "positive number"),
        ("cron(0 6 * * *)", "six fields .* got 5"),
        ("cron(0 6 * * ? * *)", "six fields .* got 7"),
        ("cron(0 6 * * * *)", "exactly one"),
        ("cron(0 6 ? * ? *)", "exactly one"),
        ("cron(60 6 * * ? *)", "minutes '60' is not in 0-59"),
        ("cron(0 24 * * ? *)", "hours '24' is not in 0-23"),
        ("cron(0 6 0 * ? *)", "day-of-month '0' is not in 1-31"),
        ("cron(0 6 32W * ? *)", "day-of-month '32' is not in 1-31"),
        ("cron(0 6 * 13 ? *)", "month '13' is not in 1-12"),
        ("cron(0 6 * JANUARY ? *)", "month 'JANUARY'"),
        ("cron(0 6 ? * 0 *)", "day-of-week '0' is not in 1-7"),
        ("cron(0 6 ? * FOO *)", "day-of-week 'FOO'"),
        ("cron(0 6 ? * MON#6 *)", "day-of-week 'MON#6'"),
        ("cron(0 6 * * ? 1969)", "year '1969' is not in 1970-2199"),
        ("cron(0 6 * * ? 2200)", "year '2200'"),
        ("cron(*/0 6 * * ? *)", "no step"),
        ("cron(*/x 6 * * ? *)", "no step"),
        ("cron(0 18-9 * * ? *)", "runs backwards"),
        ("cron(0 , * * ? *)", "hours '' is not in"),
        ("cron(? 6 * * ? *)", r"minutes '\?'"),
        ("cron(0 6 30 2 ? *)", "never fires"),
        ("cron(0 6 31 4,6,9,11 ? *)", "never fires"),
        ("at(2027-02-30T06:00:00)", "no date"),
        ("at(2027-01-01)", "not of the form at"),
        ("at(2027-01-01T06:00:00Z)", "not of the form at"),
    ],
)
def test_what_eventbridge_would_refuse_minutes_later_is_refused_at_once(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schedule.validate(expression)


def test_what_is_right_comes_back_as_it_was() -> None:
    assert schedule.validate("cron(0 6 * * ? *)") == "cron(0 6 * * ? *)"
