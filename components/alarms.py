"""What is watched, when it is wrong, and what to do then. Pure: alarms as data, made resources in monitoring.py.

Anchors lead to the runbook, docs/operate.md, where each has a section.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pulumi

from components import database_class, schedule
from components.functions import SIZES
from components.naming import FUNCTIONS, Scope
from components.settings import Settings

FIVE_MINUTES: Final = 300
HOUR: Final = 3600
GIB: Final = 2**30

# Retries make single errors normal; more than this and they stop being chance.
FUNCTION_ERRORS: Final = 3
# A function that has used this much of its time will soon run out of it.
SHARE_OF_TIMEOUT: Final = 0.8
SHARE_OF_CONNECTIONS: Final = 0.8
CPU_PERCENT: Final = 90
# Storage grows by itself below a tenth; still below that after a while, it cannot grow any more.
SHARE_OF_STORAGE: Final = 0.1

type Dimensions = Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm. `role` ends its name; `means` and `do` are its description, `anchor` the place of more."""

    role: str
    means: str
    do: str
    anchor: str
    threshold: float
    comparison: Literal["GreaterThanOrEqualToThreshold", "LessThanThreshold"] = "GreaterThanOrEqualToThreshold"
    period: int = FIVE_MINUTES
    periods: int = 1
    missing: Literal["notBreaching", "breaching", "ignore"] = "notBreaching"
    lasting: bool = False  # a condition that ends, so its end is told too
    namespace: str = ""
    metric: str = ""
    statistic: str = "Sum"
    dimensions: Dimensions = field(default_factory=dict)
    queries: list[dict[str, Any]] = field(default_factory=list)

    def description(self, runbook: str) -> str:
        """Return what somebody reads who was woken by it; `runbook` is where docs/operate.md is read."""
        return f"{self.means} {self.do} More: {runbook}#{self.anchor}"


def of_runs(state_machine_arn: pulumi.Input[str], dead_letter_queue: pulumi.Input[str]) -> list[Alarm]:
    """Return the alarms on runs that went wrong or never started."""
    machine = {"StateMachineArn": state_machine_arn}
    return [
        Alarm(
            role="run-failed",
            means="A run failed.",
            do="Read the failure message, or the execution's error and cause, mend that and start a run by hand.",
            anchor="run-failed",
            namespace="AWS/States",
            metric="ExecutionsFailed",
            dimensions=machine,
            threshold=1,
        ),
        Alarm(
            role="run-timed-out",
            means="A run was still going after three hours.",
            do="See which state it hung in and why, then start a run by hand.",
            anchor="run-timed-out",
            namespace="AWS/States",
            metric="ExecutionsTimedOut",
            dimensions=machine,
            threshold=1,
        ),
        Alarm(
            role="run-throttled",
            means="Step Functions throttled the state machine.",
            do="See what else in the account uses up its quotas; runs go on, more slowly.",
            anchor="run-throttled",
            namespace="AWS/States",
            metric="ExecutionThrottled",
            dimensions=machine,
            threshold=1,
        ),
        Alarm(
            role="not-started",
            means="The schedule could not start a run, an hour of retries included.",
            do="Read the message in the dead-letter queue for the reason, then delete it and start a run by hand.",
            anchor="not-started",
            namespace="AWS/SQS",
            metric="ApproximateNumberOfMessagesVisible",
            statistic="Maximum",
            dimensions={"QueueName": dead_letter_queue},
            threshold=1,
            lasting=True,
        ),
    ]


def of_freshness(namespace: str, expression: str) -> list[Alarm]:
    """Return the alarm on a stack that has published or confirmed nothing for longer than its schedule explains.

    No alarm for a schedule whose gaps are longer than an alarm can look back.
    """
    hours = schedule.freshness_hours(expression)
    if hours is None:
        return []

    def metric(id_: str, name: str, service: str) -> dict[str, Any]:
        return {
            "id": id_,
            "return_data": False,
            "metric": {
                "namespace": namespace,
                "metric_name": name,
                "dimensions": {"service": service},
                "period": HOUR,
                "stat": "Sum",
            },
        }

    return [
        Alarm(
            role="stale",
            means=f"For {hours} hours no version was published and none was confirmed unchanged.",
            do="See why runs fail or do not start; after a first deployment, start the first run by hand.",
            anchor="stale",
            threshold=1,
            comparison="LessThanThreshold",
            period=HOUR,
            periods=hours,
            missing="breaching",
            lasting=True,
            queries=[
                metric("published", "PublishSuccess", "publish"),
                metric("unchanged", "SourceUnchanged", "publish"),
                {
                    "id": "fresh",
                    "expression": "SUM([published, unchanged])",
                    "label": "versions published or confirmed unchanged",
                    "return_data": True,
                },
            ],
        )
    ]


def of_source(namespace: str, settings: Settings) -> list[Alarm]:
    """Return the alarm on a source that has not published a version for too long.

    Each run reports the age, and between two runs the alarm keeps its state, so it serves every schedule.
    """
    return [
        Alarm(
            role="source-old",
            means=f"The source has had no new version for {settings.max_source_age_days} days (maxSourceAgeDays).",
            do="See on the portal whether the dataset moved or is no longer updated.",
            anchor="source-old",
            namespace=namespace,
            metric="SourceAgeDays",
            statistic="Maximum",
            dimensions={"service": "extract"},
            threshold=settings.max_source_age_days,
            period=HOUR,
            missing="ignore",
            lasting=True,
        )
    ]


def of_functions(function_names: Mapping[str, pulumi.Input[str]]) -> list[Alarm]:
    """Return the alarms on functions that fail again and again or come near their timeout."""
    alarms = []
    for function in FUNCTIONS:
        dimensions = {"FunctionName": function_names[function]}
        limit = SIZES[function].timeout_seconds
        alarms += [
            Alarm(
                role=f"{function}-errors",
                means=f"The {function} function failed {FUNCTION_ERRORS} times or more in a quarter of an hour.",
                do="Read its log; retries may still carry the run.",
                anchor="function-errors",
                namespace="AWS/Lambda",
                metric="Errors",
                dimensions=dimensions,
                period=3 * FIVE_MINUTES,
                threshold=FUNCTION_ERRORS,
            ),
            Alarm(
                role=f"{function}-slow",
                means=f"The {function} function ran for {SHARE_OF_TIMEOUT:.0%} or more of the {limit} seconds it has.",
                do="Find what slowed it: the source, the database, or parts that are too large (partRows).",
                anchor="function-slow",
                namespace="AWS/Lambda",
                metric="Duration",
                statistic="Maximum",
                dimensions=dimensions,
                threshold=limit * 1000 * SHARE_OF_TIMEOUT,
            ),
        ]
    return alarms


def of_database(settings: Settings, identifier: pulumi.Input[str]) -> list[Alarm]:
    """Return the alarms on the database's processor, storage and connections."""
    dimensions = {"DBInstanceIdentifier": identifier}
    connections = int(database_class.max_connections(settings.database_instance_class) * SHARE_OF_CONNECTIONS)
    storage = int(settings.database_storage_gb * GIB * SHARE_OF_STORAGE)
    return [
        Alarm(
            role="database-cpu",
            means=f"The database's processor was {CPU_PERCENT}% busy or more for a quarter of an hour.",
            do="See CloudWatch Database Insights for the queries; if it is the load itself, take a larger class.",
            anchor="database-cpu",
            namespace="AWS/RDS",
            metric="CPUUtilization",
            statistic="Average",
            dimensions=dimensions,
            threshold=CPU_PERCENT,
            periods=3,
            lasting=True,
        ),
        Alarm(
            role="database-storage",
            means=f"The database has less than {storage / GIB:.0f} GB of storage left and has not grown by itself.",
            do="Raise databaseStorageGb, or find out what fills it.",
            anchor="database-storage",
            namespace="AWS/RDS",
            metric="FreeStorageSpace",
            statistic="Minimum",
            dimensions=dimensions,
            comparison="LessThanThreshold",
            threshold=storage,
            periods=6,
            lasting=True,
        ),
        Alarm(
            role="database-connections",
            means=f"The database holds {connections} connections or more, {SHARE_OF_CONNECTIONS:.0%} of what it takes.",
            do="See in pg_stat_activity whose they are; lower loadConcurrency if they are the load's own.",
            anchor="database-connections",
            namespace="AWS/RDS",
            metric="DatabaseConnections",
            statistic="Maximum",
            dimensions=dimensions,
            threshold=connections,
            periods=2,
            lasting=True,
        ),
    ]


def of_nat_instances(scope: Scope, instance_ids: Mapping[str, pulumi.Input[str]]) -> list[Alarm]:
    """Return an alarm for each NAT instance that is down: no extraction behind it succeeds."""
    return [
        Alarm(
            role=f"nat-{zone}-down",
            means=f"The NAT instance in {zone} fails its status checks or is gone; extract cannot reach the source.",
            do=f"Replace it: pulumi up --replace with the URN of {scope.prefix}-nat-{zone}.",
            anchor="nat-instance",
            namespace="AWS/EC2",
            metric="StatusCheckFailed",
            statistic="Maximum",
            dimensions={"InstanceId": instance_id},
            threshold=1,
            periods=2,
            missing="breaching",
            lasting=True,
        )
        for zone, instance_id in instance_ids.items()
    ]


def of_credits(instance_ids: Mapping[str, pulumi.Input[str]]) -> list[Alarm]:
    """Return an alarm for each burstable instance, by its role, that uses more CPU than its credits pay for."""
    return [
        Alarm(
            role=f"{role}-credits",
            means="The instance has used more CPU in a day than its credits pay for, and AWS bills the rest.",
            do="Find out what keeps its CPU busy, or replace it.",
            anchor="instance-credits",
            namespace="AWS/EC2",
            metric="CPUSurplusCreditsCharged",
            statistic="Maximum",
            dimensions={"InstanceId": instance_id},
            threshold=1,
            period=HOUR,
            lasting=True,
        )
        for role, instance_id in instance_ids.items()
    ]
