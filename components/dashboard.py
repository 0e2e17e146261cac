"""The dashboard as plain data: is it healthy, is it fresh, what did it load. Pure.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from collections.abc import Sequence
from typing import Any, Final

from components.naming import FUNCTIONS

type Widget = dict[str, Any]

WIDTH: Final = 24
HEIGHT: Final = 6
DAY: Final = 86_400
FIVE_MINUTES: Final = 300


def body(
    *,
    name: str,
    region: str,
    freshness: str,
    runbook: str,
    alarm_arns: Sequence[str],
    state_machine_arn: str,
    function_names: Sequence[str],
    log_groups: Sequence[str],
    database: str,
    dead_letter_queue: str,
) -> dict[str, Any]:
    """Return the body.

    `freshness` says how freshness is judged, `runbook` where to read on; `name` is the own metrics' namespace too.
    """

    def graph(title: str, metrics: list[list[Any]], *, stat: str = "Sum", period: int = FIVE_MINUTES) -> Widget:
        return {
            "type": "metric",
            "properties": {
                "title": title, "region": region, "view": "timeSeries", "stat": stat, "period": period,
                "metrics": metrics,
            },
        }  # fmt: skip

    def own(service: str, *metrics: str) -> list[list[Any]]:
        return [[name, metric, "service", service] for metric in metrics]

    machine = ["StateMachineArn", state_machine_arn]
    lambdas = list(zip(FUNCTIONS, function_names, strict=True))
    errors = (
        f"SOURCE {' | SOURCE '.join(repr(group) for group in log_groups)} | fields @timestamp, service, level, message "
        "| filter level in ['ERROR', 'CRITICAL'] | sort @timestamp desc | limit 50"
    )
    rows = [
        [
            {"type": "text", "properties": {"markdown": f"# {name}\n{freshness}\n\nWhat to do: {runbook}"}},
            {"type": "alarm", "properties": {"title": "Is it healthy?", "alarms": list(alarm_arns)}},
        ],
        [
            graph(
                "Is it fresh? Versions published or confirmed unchanged, by day",
                own("publish", "PublishSuccess", "SourceUnchanged"),
                period=DAY,
            ),
            graph(
                "Runs, by day",
                [
                    ["AWS/States", metric, *machine]
                    for metric in ("ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")
                ],
                period=DAY,
            ),
        ],
        [
            graph("What did it load? Rows of the version", own("publish", "RowsLoaded"), stat="Maximum", period=DAY),
            graph(
                "What changed? Rows, by day",
                own("publish", "RowsInserted", "RowsUpdated", "RowsRemoved", "RowsRejected", "RowsKept"),
                period=DAY,
            ),
        ],
        [
            graph(
                "Duration, ms",
                [["AWS/Lambda", "Duration", "FunctionName", function, {"label": role}] for role, function in lambdas],
                stat="Maximum",
            ),
            graph(
                "Errors and throttles",
                [
                    ["AWS/Lambda", metric, "FunctionName", function, {"label": f"{role} {metric.lower()}"}]
                    for role, function in lambdas
                    for metric in ("Errors", "Throttles")
                ],
            ),
            graph(
                "Starts that were not made",
                [["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", dead_letter_queue]],
                stat="Maximum",
            ),
        ],
        [
            graph(title, [["AWS/RDS", metric, "DBInstanceIdentifier", database]], stat=stat)
            for title, metric, stat in (
                ("Database processor, %", "CPUUtilization", "Average"),
                ("Database connections", "DatabaseConnections", "Maximum"),
                ("Database storage left, bytes", "FreeStorageSpace", "Minimum"),
            )
        ],
        [{"type": "log", "properties": {"title": "Errors in words", "region": region, "query": errors}}],
    ]
    return {"widgets": [placed for row, widgets in enumerate(rows) for placed in _place(widgets, row)]}


def _place(widgets: list[Widget], row: int) -> list[Widget]:
    """Return the widgets side by side, filling the row."""
    width = WIDTH // len(widgets)
    return [
        {**widget, "x": column * width, "y": row * HEIGHT, "width": width, "height": HEIGHT}
        for column, widget in enumerate(widgets)
    ]
