"""The state machine, the schedule that starts it, and where a start goes that could not be made."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam, naming, workflow
from components.naming import Scope
from components.settings import Settings
from components.storage import RAW_PREFIX

# An hour of trying to start; after that the next scheduled run is the better one.
START_ATTEMPTS: Final = 5
START_WITHIN_SECONDS: Final = 3600
# A state machine is gone when its executions are, and each ends after the state that it is in: a function may take a
# quarter of an hour, and is retried. The provider waits for five minutes.
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_DeleteStateMachine.html
RUNS_GONE: Final = pulumi.CustomTimeouts(delete="60m")
DEAD_LETTER_SECONDS: Final = 14 * 24 * 3600  # the longest that SQS keeps a message


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationArgs:
    """What the state machine depends on; `function_arns` by `naming.FUNCTIONS`."""

    scope: Scope
    settings: Settings
    key_arn: pulumi.Input[str]
    bucket_name: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]
    secret_arn: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    function_arns: Mapping[str, pulumi.Input[str]]


class Orchestration(pulumi.ComponentResource):
    """One state machine, one schedule, one role for each of them."""

    state_machine_arn: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    dead_letter_queue_name: pulumi.Output[str]

    def __init__(self, name: str, args: OrchestrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the state machine, its schedule and the notice of runs that could not tell their end themselves."""
        super().__init__("ev-population:index:Orchestration", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        machine = self._state_machine()
        self.state_machine_arn = machine.arn
        self._tell_of_stopped_runs(machine.arn)
        queue = self._dead_letters()
        self.dead_letter_queue_name = queue.name
        self.schedule_name = self._schedule(machine.arn, queue.arn).name
        self.register_outputs({"stateMachineArn": self.state_machine_arn, "scheduleName": self.schedule_name})

    def _state_machine(self) -> aws.sfn.StateMachine:
        name, args, scope = self._name, self._args, self._args.scope
        log_group = aws.cloudwatch.LogGroup(
            f"{name}-states",
            name=naming.state_machine_log_group(name),
            retention_in_days=args.settings.log_retention_days,
            kms_key_id=args.key_arn,
            opts=self._child,
        )
        role = iam.service_role(
            f"{name}-states",
            service="states.amazonaws.com",
            description="The state machine: invoke its functions, tell people, run its own Map",
            trust_conditions={
                "StringEquals": {"aws:SourceAccount": scope.account_id},
                "ArnLike": {
                    "aws:SourceArn": [
                        scope.arn("states", f"stateMachine:{name}"),
                        scope.arn("states", f"stateMachine:{name}/*"),  # the Map's part of it
                    ]
                },
            },
            statements=[
                iam.Statement(
                    sid="Functions",
                    actions=["lambda:InvokeFunction"],
                    resources=[args.function_arns[function] for function in naming.FUNCTIONS],
                ),
                iam.Statement(sid="Topic", actions=["sns:Publish"], resources=[args.topic_arn]),
                iam.Statement(
                    sid="PartsOfTheMap",
                    actions=["s3:GetObject"],
                    resources=[pulumi.Output.concat(args.bucket_arn, "/", RAW_PREFIX, "*")],
                ),
                # A Distributed Map runs its parts as executions of this same machine.
                # https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
                iam.Statement(
                    sid="MapStarts",
                    actions=["states:StartExecution"],
                    resources=[scope.arn("states", f"stateMachine:{name}")],
                ),
                iam.Statement(
                    sid="MapWatches",
                    actions=["states:DescribeExecution", "states:StopExecution"],
                    resources=[scope.arn("states", f"execution:{name}/*")],
                ),
                iam.key_use(scope, args.key_arn, via=["s3", "sns"], write=True),
                iam.Statement(sid="Logs", actions=iam.LOG_DELIVERY_ACTIONS, resources=[iam.ANY_LOG_DELIVERY]),
                iam.Statement(sid="Traces", actions=iam.SAMPLED_TRACE_ACTIONS, resources=[iam.ANY_TRACE]),
            ],
            opts=self._child,
        )
        arns = {f"{function}_function_arn": args.function_arns[function] for function in naming.FUNCTIONS}
        definition = pulumi.Output.all(topic_arn=args.topic_arn, **arns).apply(
            lambda known: json.dumps(
                workflow.definition(
                    stack=scope.stack,
                    load_concurrency=args.settings.load_concurrency,
                    notify_on=args.settings.notify_on,
                    runbook_url=args.settings.runbook_url,
                    **known,
                )
            )
        )
        return aws.sfn.StateMachine(
            f"{name}-states",
            name=name,
            type="STANDARD",
            role_arn=role.arn,
            definition=definition,
            # Errors with their cause, never what went in or out: an execution's data is in its history already.
            logging_configuration={
                "level": "ERROR",
                "include_execution_data": False,
                "log_destination": pulumi.Output.concat(log_group.arn, ":*"),
            },
            tracing_configuration={"enabled": True},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.permissions], custom_timeouts=RUNS_GONE),
        )

    def _dead_letters(self) -> aws.sqs.Queue:
        name = self._name
        # Encrypted by SQS' own key: a dead letter holds two references, and no key's policy can lose it.
        queue = aws.sqs.Queue(
            f"{name}-not-started",
            name=f"{name}-not-started",
            message_retention_seconds=DEAD_LETTER_SECONDS,
            sqs_managed_sse_enabled=True,
            opts=self._child,
        )
        aws.sqs.QueuePolicy(
            f"{name}-not-started",
            queue_url=queue.url,
            policy=iam.policy(iam.tls_only("sqs:*", queue.arn)),
            opts=self._child,
        )
        return queue

    def _schedule(self, machine_arn: pulumi.Output[str], queue_arn: pulumi.Output[str]) -> aws.scheduler.Schedule:
        name, args, settings = self._name, self._args, self._args.settings
        role = iam.service_role(
            f"{name}-schedule",
            service="scheduler.amazonaws.com",
            description="The schedule: start the state machine, or leave a dead letter",
            # The schedule's group, not the schedule: EventBridge Scheduler assumes the role before that exists.
            # https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
            trust_conditions={
                "StringEquals": {"aws:SourceAccount": args.scope.account_id},
                "ArnEquals": {"aws:SourceArn": args.scope.arn("scheduler", "schedule-group/default")},
            },
            statements=[
                iam.Statement(sid="Start", actions=["states:StartExecution"], resources=[machine_arn]),
                iam.Statement(sid="DeadLetters", actions=["sqs:SendMessage"], resources=[queue_arn]),
            ],
            opts=self._child,
        )
        return aws.scheduler.Schedule(
            f"{name}-schedule",
            name=name,
            description="Look for a new version of the dataset and load it",
            schedule_expression=settings.schedule,
            schedule_expression_timezone=settings.schedule_timezone,
            flexible_time_window={"mode": "OFF"},
            # Should two runs overlap, publishing is one transaction under a lock, and the older version gives way.
            target={
                "arn": machine_arn,
                "role_arn": role.arn,
                "input": pulumi.Output.json_dumps({"bucket_name": args.bucket_name, "secret_arn": args.secret_arn}),
                "retry_policy": {
                    "maximum_retry_attempts": START_ATTEMPTS,
                    "maximum_event_age_in_seconds": START_WITHIN_SECONDS,
                },
                "dead_letter_config": {"arn": queue_arn},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.permissions]),
        )

    def _tell_of_stopped_runs(self, machine_arn: pulumi.Output[str]) -> None:
        """Tell of runs that were stopped from outside or ran out of time: they never reach a state that tells."""
        name, region = self._name, self._args.scope.region
        rule = aws.cloudwatch.EventRule(
            f"{name}-stopped-runs",
            name=f"{name}-stopped-runs",
            description="Runs that were aborted or timed out",
            event_pattern=pulumi.Output.json_dumps(
                {
                    "source": ["aws.states"],
                    "detail-type": ["Step Functions Execution Status Change"],
                    "detail": {"stateMachineArn": [machine_arn], "status": ["ABORTED", "TIMED_OUT"]},
                }
            ),
            opts=self._child,
        )
        url = f"https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/<execution>"
        aws.cloudwatch.EventTarget(
            f"{name}-stopped-runs",
            rule=rule.name,
            arn=self._args.topic_arn,
            input_transformer={
                "input_paths": {"status": "$.detail.status", "execution": "$.detail.executionArn"},
                "input_template": json.dumps(
                    f"{name}: a run ended <status>. What it had not published is left out; the next run starts afresh. "
                    f"What to do: {self._args.settings.runbook}#stopped-run. Execution: {url}"
                ),
            },
            opts=self._child,
        )
