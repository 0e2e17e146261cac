"""The local cloud: an empty account that leads every client to itself, executes state machines and runs functions."""

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.cloud import Cloud, functions_run_by
from local.execution import Execution, State, collect_notifications, notifications, states_of
from local.runtime import Function, Invocation, Runtime
from local.state import put_back, take_away

ROLE = "arn:aws:iam::123456789012:role/demo"
REGION = "ap-northeast-1"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(region=REGION, log=tmp_path / "cloud.log") as found:
        yield found


def test_every_client_made_meanwhile_finds_the_local_cloud_and_none_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("NO_PROXY", "intranet")
    before = dict(os.environ)
    with Cloud(region=REGION, log=tmp_path / "cloud.log") as cloud:
        assert boto3.client("s3").meta.endpoint_url == cloud.url
        assert cloud.url.startswith("http://127.0.0.1:"), "the cloud must not be open to the network"
        assert "AWS_PROFILE" not in os.environ
        assert os.environ["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert dict(os.environ) == before, "what a run sets must not outlive it"


def test_every_cloud_starts_empty(tmp_path: Path) -> None:
    for _ in range(2):
        with Cloud(region=REGION, log=tmp_path / "cloud.log") as cloud:
            assert cloud.client("secretsmanager").list_secrets()["SecretList"] == []
            cloud.client("secretsmanager").create_secret(Name="left-behind")


def deploy(cloud: Cloud, states: dict[str, Any], payload: dict[str, str], code: str = "x = 1") -> None:
    """A function, a state machine and a schedule that carries `payload` to it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("app.py", code)
    cloud.client("iam").create_role(RoleName="demo", AssumeRolePolicyDocument="{}")
    cloud.client("lambda").create_function(
        FunctionName="demo-extract",
        Runtime="python3.12",
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=20,
    )
    machine = cloud.client("stepfunctions").create_state_machine(
        name="demo", definition=json.dumps({"StartAt": next(iter(states)), "States": states}), roleArn=ROLE
    )
    cloud.client("scheduler").create_schedule(
        Name="demo",
        ScheduleExpression="rate(1 day)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": machine["stateMachineArn"], "RoleArn": ROLE, "Input": json.dumps(payload)},
    )


INVOKE = {
    "Type": "Task",
    "Resource": "arn:aws:states:::lambda:invoke",
    "Parameters": {"FunctionName": "demo-extract", "Payload.$": "$"},
}


def test_an_execution_starts_with_what_the_schedule_carries_and_runs_the_function_from_its_archive(
    cloud: Cloud, tmp_path: Path
) -> None:
    code = "import os\ndef handler(event, context): return {'event': event, 'endpoint': os.environ['AWS_ENDPOINT_URL']}"
    deploy(cloud, {"Extract": INVOKE | {"OutputPath": "$.Payload", "End": True}}, {"bucket_name": "b"}, code)
    runtime = Runtime(home=tmp_path / "functions", logs=tmp_path / "logs", environment=cloud.environment)
    with functions_run_by(runtime.invoke):
        execution = Execution(cloud, schedule="demo", force=True)
        seen = list(execution.follow())
        outcome = execution.outcome()
    assert outcome.status == "SUCCEEDED", f"{outcome.error}: {outcome.cause}"
    assert outcome.output == {"event": {"bucket_name": "b", "force": True}, "endpoint": cloud.url}
    assert [(state.name, state.status) for state in outcome.states] == [("Extract", "SUCCEEDED")]
    assert seen[-1] == list(outcome.states), "the last look should show the whole way"
    assert [invocation.function for invocation in runtime.invocations] == ["demo-extract"]


def test_an_execution_that_fails_says_with_what_error_and_why(cloud: Cloud) -> None:
    failing = {
        "Extract": INVOKE | {"Catch": [{"ErrorEquals": ["SourceError"], "Next": "Failed"}], "End": True},
        "Failed": {"Type": "Fail", "Error": "SourceError", "Cause": "no rows"},
    }
    deploy(cloud, failing, {})

    def invoke(function: Function, _: object) -> Invocation:
        payload = json.dumps({"errorType": "SourceError", "errorMessage": "no rows"})
        return Invocation(function=function.name, payload=payload, failed=True, seconds=0, peak_mb=None)

    with functions_run_by(invoke):
        execution = Execution(cloud, schedule="demo")
        for _ in execution.follow():
            pass
        outcome = execution.outcome()
    assert (outcome.status, outcome.error, outcome.cause) == ("FAILED", "SourceError", "no rows")
    assert [(state.name, state.status) for state in outcome.states] == [("Extract", "FAILED"), ("Failed", "FAILED")]


def test_whatever_is_published_to_the_topic_is_collected_in_order(cloud: Cloud) -> None:
    topic = cloud.client("sns").create_topic(Name="demo")["TopicArn"]
    collect_notifications(cloud, topic)
    for number in range(13):
        cloud.client("sns").publish(TopicArn=topic, Subject=f"no {number}", Message=f"text {number}")
    assert notifications(cloud) == [{"subject": f"no {number}", "message": f"text {number}"} for number in range(13)]


def event(kind: str, second: float, name: str | None = None) -> dict[str, Any]:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    details = {"stateEnteredEventDetails": {"name": name}} if name else {}
    return {"type": kind, "timestamp": moment, **details}


def test_a_state_that_was_retried_with_success_has_succeeded_and_one_that_was_caught_has_failed() -> None:
    history = [
        event("ExecutionStarted", 0),
        event("TaskStateEntered", 0, "Retried"),
        event("TaskScheduled", 0),
        event("TaskFailed", 1),
        event("TaskScheduled", 2),
        event("TaskSucceeded", 3),
        event("TaskStateExited", 3.5),
        event("TaskStateEntered", 4, "Caught"),
        event("TaskScheduled", 4),
        event("TaskFailed", 5),
        event("TaskStateExited", 5),
        event("MapStateEntered", 6, "Going on"),
    ]
    assert states_of(history) == [
        State(name="Retried", status="SUCCEEDED", seconds=3.5),
        State(name="Caught", status="FAILED", seconds=1.0),
        State(name="Going on", status="RUNNING", seconds=0.0),
    ]


def test_the_bucket_comes_back_as_it_was_with_the_last_versions_of_raw_data_and_reports_only(
    cloud: Cloud, tmp_path: Path
) -> None:
    s3 = cloud.client("s3")
    place = {"LocationConstraint": REGION}
    for bucket in ("first", "second"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    versions = [f"raw_data/date=2023010{day}/version=2023010{day}T000000Z" for day in range(1, 6)]
    content = {f"{version}/part-00000.csv.gz": version.encode() for version in versions}
    content |= {f"reports/version=2023010{day}T000000Z.html": b"a page" for day in range(1, 6)}
    content |= {"published.json": b"{}", "reports/latest.html": b"a page"}
    for key, body in content.items():
        s3.put_object(Bucket="first", Key=key, Body=body)
    for _ in range(2):  # the second replaces the first
        take_away(s3, "first", tmp_path / "state" / "bucket")
    put_back(s3, "second", tmp_path / "state" / "bucket")
    found = {
        item["Key"]: s3.get_object(Bucket="second", Key=item["Key"])["Body"].read()
        for item in s3.list_objects_v2(Bucket="second")["Contents"]
    }
    assert found == {key: body for key, body in content.items() if not re.search("2023010[12]", key)}


def test_an_empty_bucket_stays_empty(cloud: Cloud, tmp_path: Path) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="first", CreateBucketConfiguration={"LocationConstraint": REGION})
    put_back(s3, "first", tmp_path / "never")
    take_away(s3, "first", tmp_path / "bucket")
    assert list((tmp_path / "bucket").iterdir()) == []
