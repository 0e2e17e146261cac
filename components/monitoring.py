"""Alarms and the dashboard. What is watched stands in alarms.py, what is shown in dashboard.py."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import alarms, dashboard, naming, schedule
from components.naming import Scope
from components.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringArgs:
    """What is watched, and the topic that is told."""

    scope: Scope
    settings: Settings
    topic_arn: pulumi.Input[str]
    state_machine_arn: pulumi.Input[str]
    dead_letter_queue_name: pulumi.Input[str]
    function_names: Mapping[str, pulumi.Input[str]]
    database_identifier: pulumi.Input[str]
    nat_instance_ids: Mapping[str, pulumi.Input[str]]
    analyst_host_id: pulumi.Input[str] | None


class Monitoring(pulumi.ComponentResource):
    """Every alarm says what to do; the dashboard shows health, freshness and what was loaded."""

    dashboard_url: str

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the alarms and the dashboard."""
        super().__init__("ev-population:index:Monitoring", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings, region = args.settings, args.scope.region
        self._runbook = settings.runbook
        if schedule.freshness_hours(settings.schedule) is None:
            pulumi.log.warn(freshness_in_words(settings), self)

        burstable = {f"nat-{zone}": instance_id for zone, instance_id in args.nat_instance_ids.items()}
        if args.analyst_host_id is not None:
            burstable["analyst"] = args.analyst_host_id
        made = [
            self._alarm(f"{name}-{alarm.role}", alarm, args.topic_arn)
            for alarm in (
                *alarms.of_runs(args.state_machine_arn, args.dead_letter_queue_name),
                *alarms.of_freshness(name, settings.schedule),
                *alarms.of_source(name, settings),
                *alarms.of_functions(args.function_names),
                *alarms.of_database(settings, args.database_identifier),
                *alarms.of_nat_instances(args.scope, args.nat_instance_ids),
                *alarms.of_credits(burstable),
            )
        ]
        known = pulumi.Output.all(
            alarm_arns=[alarm.arn for alarm in made],
            state_machine_arn=args.state_machine_arn,
            function_names=[args.function_names[function] for function in naming.FUNCTIONS],
            database=args.database_identifier,
            dead_letter_queue=args.dead_letter_queue_name,
        )
        aws.cloudwatch.Dashboard(
            f"{name}-dashboard",
            dashboard_name=name,
            dashboard_body=known.apply(
                lambda values: json.dumps(
                    dashboard.body(
                        name=name,
                        region=region,
                        freshness=freshness_in_words(settings),
                        runbook=settings.runbook,
                        log_groups=[naming.function_log_group(name, function) for function in naming.FUNCTIONS],
                        **values,
                    )
                )
            ),
            opts=child,
        )
        self.dashboard_url = (
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#dashboards/dashboard/{name}"
        )
        self.register_outputs({"dashboardUrl": self.dashboard_url})

    def _alarm(self, name: str, alarm: alarms.Alarm, topic_arn: pulumi.Input[str]) -> aws.cloudwatch.MetricAlarm:
        metric = (
            {"metric_queries": alarm.queries}
            if alarm.queries
            else {
                "namespace": alarm.namespace,
                "metric_name": alarm.metric,
                "dimensions": alarm.dimensions,
                "statistic": alarm.statistic,
                "period": alarm.period,
            }
        )
        return aws.cloudwatch.MetricAlarm(
            name,
            name=name,
            alarm_description=alarm.description(self._runbook),
            comparison_operator=alarm.comparison,
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            datapoints_to_alarm=alarm.periods,
            treat_missing_data=alarm.missing,
            alarm_actions=[topic_arn],
            ok_actions=[topic_arn] if alarm.lasting else [],
            **metric,
            opts=pulumi.ResourceOptions(parent=self),
        )


def freshness_in_words(settings: Settings) -> str:
    """Return how the stack's freshness is judged, or why it is not."""
    hours = schedule.freshness_hours(settings.schedule)
    if hours is None:
        return (
            f"There is no alarm on freshness: runs on {settings.schedule} can lie further apart than the seven days "
            "that a CloudWatch alarm looks back. Failed runs and starts that were not made still raise one. "
            "A daily schedule costs one request a day and is watched in full."
        )
    return f"Stale when no run has published a version, or confirmed the last one, for {hours} hours."
