"""The state machine and its schedule: what starts, what it may do, and what becomes of a start that was not made."""

import json

import pytest

from components import workflow
from tests.pulumi_mocks import ACCOUNT, REGION, granted, record_stack, via

MACHINE = "aws:sfn/stateMachine:StateMachine"
SCHEDULE = "aws:scheduler/schedule:Schedule"
POLICY = "aws:iam/rolePolicy:RolePolicy"
MACHINE_ARN = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:ev-population-dev"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:ev-population-dev-not-started"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:ev-population-dev"


def function_arn(role: str) -> str:
    """Return the ARN of one of dev's functions."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:ev-population-dev-{role}"


class TestStateMachine:
    def test_it_is_the_workflow_over_this_stacks_functions_and_topic(self) -> None:
        machine = record_stack("dev", loadConcurrency="7").one(MACHINE)
        assert machine.inputs["name"] == "ev-population-dev"
        assert machine.inputs["type"] == "STANDARD", "a run may take longer than the five minutes of an express one"
        assert machine.document("definition") == workflow.definition(
            stack="dev",
            extract_function_arn=function_arn("extract"),
            stage_function_arn=function_arn("stage"),
            publish_function_arn=function_arn("publish"),
            topic_arn=TOPIC_ARN,
            load_concurrency=7,
            notify_on="every-run",
            runbook_url="",
        )

    @pytest.mark.parametrize(("stack", "notify_on"), [("dev", "every-run"), ("prod", "changes")])
    def test_dev_sends_every_message_and_prod_what_changed(self, stack: str, notify_on: str) -> None:
        comment = f"Electric Vehicle Population to PostgreSQL, stack {stack}"
        found = record_stack(stack).one(MACHINE).document("definition")
        assert found["Comment"] == comment
        assert ("NotifyStarted" in found["States"]) == (notify_on == "every-run")
        assert ("Changed?" in found["States"]) == (notify_on == "changes")

    def test_failures_alone_leave_the_other_messages_out(self) -> None:
        states = record_stack("dev", notifyOn="failures").one(MACHINE).document("definition")["States"]
        assert {name for name in states if name.startswith("Notify")} == {"NotifyExtractFailed", "NotifyLoadFailed"}

    def test_it_may_do_what_the_workflow_does_and_no_more(self) -> None:
        allowed = granted(record_stack("dev").one(POLICY, "states").document("policy"))
        forced = {action: on for action, on in allowed.items() if on == {"*"}}
        assert {action.split(":")[0] for action in forced} == {"logs", "xray"}, "AWS takes nothing narrower for these"
        assert {action for action in forced if action.startswith("xray:")} == {
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        }
        key = {via(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222", "s3", "sns")}
        assert {action: on for action, on in allowed.items() if action not in forced} == {
            "lambda:InvokeFunction": {function_arn(role) for role in ("extract", "stage", "publish")},
            "sns:Publish": {TOPIC_ARN},
            "s3:GetObject": {"arn:aws:s3:::ev-population-dev-raw-1a2b3c4/raw_data/*"},
            "states:StartExecution": {MACHINE_ARN},
            "states:DescribeExecution": {f"arn:aws:states:{REGION}:{ACCOUNT}:execution:ev-population-dev/*"},
            "states:StopExecution": {f"arn:aws:states:{REGION}:{ACCOUNT}:execution:ev-population-dev/*"},
            "kms:Decrypt": key,
            "kms:GenerateDataKey": key,
        }

    def test_only_this_machine_assumes_its_role(self) -> None:
        (trust,) = record_stack("dev").one("aws:iam/role:Role", "states").document("assumeRolePolicy")["Statement"]
        assert trust["Principal"] == {"Service": "states.amazonaws.com"}
        assert trust["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnLike": {"aws:SourceArn": [MACHINE_ARN, f"{MACHINE_ARN}/*"]},
        }

    def test_it_logs_errors_without_data_and_is_traced(self) -> None:
        recording = record_stack("dev")
        machine = recording.one(MACHINE)
        assert machine.inputs["loggingConfiguration"] == {
            "level": "ERROR",
            "includeExecutionData": False,
            "logDestination": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/vendedlogs/states/ev-population-dev:*",
        }
        assert machine.inputs["tracingConfiguration"] == {"enabled": True}
        assert recording.one(POLICY, "states").urn in machine.depends_on, "AWS tries the log delivery at once"

    def test_its_delete_waits_for_the_run_that_is_on(self) -> None:
        assert record_stack("dev").one(MACHINE).delete_timeout == "60m", "four functions of 15 minutes"


class TestSchedule:
    def test_it_starts_this_machine_with_references_and_nothing_else(self) -> None:
        schedule = record_stack("dev").one(SCHEDULE).inputs
        assert schedule["target"]["arn"] == MACHINE_ARN
        assert json.loads(schedule["target"]["input"]) == {
            "bucket_name": "ev-population-dev-raw-1a2b3c4",
            "secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ev-population-dev-pipeline-1a2b3c4-AbCdEf",
        }, "an execution's input is readable by many: references, never values"

    def test_it_runs_when_config_says_in_the_time_zone_of_config(self) -> None:
        schedule = record_stack("dev", schedule="cron(30 4 ? * MON *)", scheduleTimezone="America/Los_Angeles")
        given = schedule.one(SCHEDULE).inputs
        assert given["name"] == "ev-population-dev"
        assert given["scheduleExpression"] == "cron(30 4 ? * MON *)"
        assert given["scheduleExpressionTimezone"] == "America/Los_Angeles"
        assert given["flexibleTimeWindow"] == {"mode": "OFF"}

    def test_a_start_is_tried_for_an_hour_and_then_left_as_a_dead_letter(self) -> None:
        target = record_stack("dev").one(SCHEDULE).inputs["target"]
        assert target["retryPolicy"] == {"maximumRetryAttempts": 5, "maximumEventAgeInSeconds": 3600}
        assert target["deadLetterConfig"] == {"arn": QUEUE_ARN}

    def test_its_role_starts_one_machine_and_writes_to_one_queue(self) -> None:
        recording = record_stack("dev")
        assert granted(recording.one(POLICY, "schedule").document("policy")) == {
            "states:StartExecution": {MACHINE_ARN},
            "sqs:SendMessage": {QUEUE_ARN},
        }
        (trust,) = recording.one("aws:iam/role:Role", "schedule").document("assumeRolePolicy")["Statement"]
        assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
        assert trust["Condition"] == {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnEquals": {"aws:SourceArn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/default"},
        }
        schedule = recording.one(SCHEDULE)
        assert schedule.inputs["target"]["roleArn"] == f"arn:aws:iam::{ACCOUNT}:role/ev-population-dev-schedule"
        assert recording.one(POLICY, "schedule").urn in schedule.depends_on

    def test_dead_letters_are_encrypted_and_kept_as_long_as_sqs_can(self) -> None:
        queue = record_stack("dev").one("aws:sqs/queue:Queue").inputs
        assert queue["sqsManagedSseEnabled"] is True
        assert queue["messageRetentionSeconds"] == 1_209_600
        (statement,) = record_stack("dev").one("aws:sqs/queuePolicy:QueuePolicy").document("policy")["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_run_that_is_stopped_from_outside_is_told_of_too() -> None:
    recording = record_stack("dev")
    rule = recording.one("aws:cloudwatch/eventRule:EventRule")
    assert rule.document("eventPattern") == {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {"stateMachineArn": [MACHINE_ARN], "status": ["ABORTED", "TIMED_OUT"]},
    }, "not FAILED: the machine tells of its own failures, in words"
    target = recording.one("aws:cloudwatch/eventTarget:EventTarget").inputs
    assert target["arn"] == TOPIC_ARN
    assert target["rule"] == rule.inputs["name"]
    message = json.loads(target["inputTransformer"]["inputTemplate"])
    assert "ended <status>" in message
    assert "docs/operate.md#stopped-run" in message
    assert set(target["inputTransformer"]["inputPaths"]) == {"status", "execution"}


def test_every_message_links_to_the_runbook_where_its_address_is_known() -> None:
    url = "https://example.com/main/docs/operate.md"
    recording = record_stack("prod", runbookUrl=url, notifyOn="failures")
    stopped = recording.one("aws:cloudwatch/eventTarget:EventTarget").inputs["inputTransformer"]["inputTemplate"]
    assert f"{url}#stopped-run" in json.loads(stopped), "whatever notifyOn says"
    failed = recording.one(MACHINE).document("definition")["States"]["NotifyLoadFailed"]["Parameters"]["Message.$"]
    assert f"{url}#errors" in failed
    for alarm in recording.of("aws:cloudwatch/metricAlarm:MetricAlarm"):
        assert f" More: {url}#" in alarm.inputs["alarmDescription"]
    assert url in recording.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_principal_has_a_role_of_its_own(stack: str) -> None:
    roles = record_stack(stack).of("aws:iam/role:Role")
    services = [role.document("assumeRolePolicy")["Statement"][0]["Principal"]["Service"] for role in roles]
    assert len(roles) == len({role.inputs["name"] for role in roles})
    assert services.count("states.amazonaws.com") == services.count("scheduler.amazonaws.com") == 1
    assert services.count("lambda.amazonaws.com") == 3


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_role_is_assumed_by_one_service_for_what_is_this_stacks_own(stack: str) -> None:
    recording = record_stack(stack, egress="nat-instance", analystAccess="ssm")
    machine = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:ev-population-{stack}"
    account = {"aws:SourceAccount": ACCOUNT}
    expected: dict[str, tuple[str, object]] = {
        "states": (
            "states.amazonaws.com",
            {"StringEquals": account, "ArnLike": {"aws:SourceArn": [machine, f"{machine}/*"]}},
        ),
        "schedule": (
            "scheduler.amazonaws.com",
            {
                "StringEquals": account,
                "ArnEquals": {"aws:SourceArn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/default"},
            },
        ),
        "flow-logs": (
            "vpc-flow-logs.amazonaws.com",
            {
                "StringEquals": account,
                "ArnLike": {"aws:SourceArn": f"arn:aws:ec2:{REGION}:{ACCOUNT}:vpc-flow-log/*"},
            },
        ),
        # These services send no source: https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
        **dict.fromkeys(("extract", "stage", "publish"), ("lambda.amazonaws.com", None)),
        **dict.fromkeys(("nat", "analyst"), ("ec2.amazonaws.com", None)),
    }
    if stack == "prod":
        expected["db-monitoring"] = (
            "monitoring.rds.amazonaws.com",
            {
                "StringEquals": account,
                "ArnEquals": {"aws:SourceArn": f"arn:aws:rds:{REGION}:{ACCOUNT}:db:ev-population-prod"},
            },
        )
    found = {}
    for role in recording.of("aws:iam/role:Role"):
        (trust,) = role.document("assumeRolePolicy")["Statement"]
        assert trust["Effect"] == "Allow"
        assert trust["Action"] == ["sts:AssumeRole"]
        (service,) = trust["Principal"].values()
        found[role.name.removeprefix(f"ev-population-{stack}-")] = (service, trust.get("Condition"))
    assert found == expected
