"""What people are told of a run, outcome by outcome: the real handlers under the real state machine, word for word.

The words stand in tests/messages/, one file an outcome, every message of the run in it. After a change that is meant:
EV_WRITE_MESSAGES=1 .venv/bin/python -m pytest tests/test_messages.py, and read the diff.
"""

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

import extract
import load
from components import naming, workflow
from components.settings import NotifyOn
from evdata.errors import TransientError
from local.cloud import ACCOUNT_ID, Cloud, functions_run_by
from local.execution import collect_notifications, notifications
from local.open_data import OpenData
from local.postgres import Database
from local.runtime import Function, Invocation
from local.snapshot import Snapshot
from tests.handler_tools import BUCKET, REGION, Context, Pipeline, build_pipeline
from tests.test_transform import vehicle

WORDS = Path(__file__).parent / "messages"
JUNE, JULY = 1_685_577_600, 1_688_169_600  # the first of each, 2023

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

HANDLERS: dict[str, Handler] = {"extract": extract.handler, "stage": load.stage, "publish": load.publish}


@dataclass
class Stack:
    """The state machine with the handlers in this process, over one source."""

    cloud: Cloud
    pipeline: Pipeline
    source: OpenData
    topic: str
    instead: dict[str, Handler] = field(default_factory=dict)  # of a handler, by its name
    executions: int = 0
    ended: str = ""  # how the last execution ended

    def invoke(self, function: Function, event: Any) -> Invocation:
        name = function.name.rpartition("-")[2]
        try:
            payload = self.instead.get(name, HANDLERS[name])(event, Context(name))
            failed = False
        except Exception as error:  # noqa: BLE001 - as the Lambda runtime does
            payload, failed = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": []}, True
        return Invocation(function=name, payload=json.dumps(payload), failed=failed, seconds=0, peak_mb=None)

    def run(
        self, *, force: bool = False, seconds: int | None = None, notify_on: NotifyOn = "every-run", runbook: str = ""
    ) -> list[dict[str, str]]:
        """One execution to its end; returns the messages that it sent. `seconds` is what a function is given."""
        self.executions += 1
        states = self.cloud.client("stepfunctions")
        machine = workflow.definition(
            stack="prod",
            **{f"{name}_function_arn": self._function(name) for name in HANDLERS},
            topic_arn=self.topic,
            load_concurrency=1,
            notify_on=notify_on,
            runbook_url=runbook,
        )
        for state in (*machine["States"].values(), machine["States"]["LoadParts"]["ItemProcessor"]["States"]["Stage"]):
            for retry in state.get("Retry", []):
                retry["MaxAttempts"] = 0  # that it is retried is shown elsewhere, and would take minutes here
            if seconds and ":lambda:" in state.get("Resource", ""):
                state["TimeoutSeconds"] = seconds
        created = states.create_state_machine(
            name=f"ev-population-prod-{self.executions}",
            definition=json.dumps(machine),
            roleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/any",
        )
        arn = states.start_execution(
            stateMachineArn=created["stateMachineArn"],
            name=f"run-{self.executions}",
            input=json.dumps(self.pipeline.event | ({"force": True} if force else {})),
        )["executionArn"]
        while (execution := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
            time.sleep(0.05)
        self.ended = execution["status"]
        return notifications(self.cloud)

    def _function(self, name: str) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:ev-population-prod-{name}"


@pytest.fixture
def stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: Database, open_data: Callable[..., OpenData]
) -> Iterator[Stack]:
    with Cloud(region=REGION, log=tmp_path / "cloud.log") as cloud:
        source = open_data(version(JUNE))
        pipeline = build_pipeline(monkeypatch, database, source)
        topic = cloud.client("sns").create_topic(Name="ev-population-prod")["TopicArn"]
        collect_notifications(cloud, topic)
        cloud.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument="{}")
        archive = io.BytesIO()
        zipfile.ZipFile(archive, "w").close()
        for name in HANDLERS:
            cloud.client("lambda").create_function(
                FunctionName=f"ev-population-prod-{name}",
                Runtime="python3.12",
                Role=f"arn:aws:iam::{ACCOUNT_ID}:role/any",
                Handler="any.handler",
                Code={"ZipFile": archive.getvalue()},
            )
        found = Stack(cloud=cloud, pipeline=pipeline, source=source, topic=topic)
        with functions_run_by(found.invoke):
            yield found


def version(month: int, *, vehicles: range = range(1, 41), **of: Any) -> Snapshot:
    return Snapshot.of([vehicle(key, **of) for key in vehicles], rows_updated_at=month)


def hold(told: list[dict[str, str]], name: str) -> None:
    """Hold what was told against the words on file, but for what is another each time or elsewhere."""
    text = "\n=====\n\n".join(f"Subject: {each['subject']}\n\n{each['message']}\n" for each in told)
    text = re.sub(r"http://127\.0\.0\.1:\d+", "https://data.wa.gov", text)
    text = re.sub(r"\d+ bytes with( sha256)? [0-9a-f]{12}", r"N bytes with\1 DIGEST", text)  # gzip's own affair
    text = re.sub(r"^Report: .*\n", "", text, flags=re.MULTILINE)  # the report's own tests have this line
    file = WORDS / f"{name}.txt"
    if os.environ.get("EV_WRITE_MESSAGES"):
        WORDS.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()
    for each in told:
        assert len(each["subject"]) + naming.LONGEST_STACK_NAME - len("prod") < 100, "SNS takes no longer one"
        assert each["subject"].isascii(), "SNS takes nothing else"
        assert each["subject"].startswith("ev-population prod: ")
        assert f"executions/details/arn:aws:states:{REGION}:" in each["message"], "the link to the execution"


def test_the_first_version_is_loaded(stack: Stack) -> None:
    hold(stack.run(), "loaded")


def test_nothing_changed(stack: Stack) -> None:
    stack.run()
    hold(stack.run(), "unchanged")


def test_a_table_that_was_emptied_is_loaded_again(stack: Stack) -> None:
    stack.run()
    stack.pipeline.execute("DELETE FROM electric_vehicle_us")
    hold(stack.run(), "repaired")
    assert stack.pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(40,)]


def test_a_table_that_was_dropped_is_made_and_loaded_again_and_people_are_told_why(stack: Stack) -> None:
    stack.run(notify_on="changes")
    stack.pipeline.execute("DROP TABLE electric_vehicle_us CASCADE")
    hold(stack.run(notify_on="changes"), "repaired-dropped-changes")
    assert stack.ended == "SUCCEEDED"
    assert stack.run(notify_on="changes") == [], "and once only"


def test_a_database_that_cannot_be_reached_does_not_pass_for_unchanged(stack: Stack) -> None:
    stack.run()

    def publish(event: dict[str, Any], context: Any) -> dict[str, Any]:
        raise TransientError("PostgreSQL: could not connect to server")

    stack.instead["publish"] = publish
    hold(stack.run(), "check-failed")
    assert stack.ended == "FAILED"


class TestNotifyOnChanges:
    def test_a_version_is_one_message(self, stack: Stack) -> None:
        (message,) = stack.run(notify_on="changes")
        assert message["subject"] == "ev-population prod: 40 rows published (+40 ~0 -0)"

    def test_no_new_version_is_none_and_the_run_ends_well(self, stack: Stack) -> None:
        stack.run(notify_on="changes")
        assert stack.run(notify_on="changes") == []
        assert stack.ended == "SUCCEEDED"

    def test_what_the_extraction_warned_of_is_in_it_too(self, stack: Stack) -> None:
        os.environ["MAX_SOURCE_AGE_DAYS"] = "90"
        stack.source.snapshot = version(JULY, charging_cable="blue")
        (message,) = stack.run(notify_on="changes")
        assert "New in the source, not loaded: charging_cable." in message["message"]
        assert "Warning: the source has had no new version for" in message["message"]

    def test_a_superseded_version_is_one(self, stack: Stack) -> None:
        stack.source.snapshot = version(JULY)
        stack.run(notify_on="changes")
        stack.source.snapshot = version(JUNE)
        (message,) = stack.run(notify_on="changes")
        assert "superseded" in message["subject"]

    def test_a_version_that_a_twin_published_is_none(self, stack: Stack) -> None:
        def publish(event: dict[str, Any], context: Any) -> dict[str, Any]:
            load.publish(event | {"execution_id": "twin"}, context)
            return load.publish(event, context)

        stack.instead["publish"] = publish
        assert stack.run(notify_on="changes") == []
        assert stack.ended == "SUCCEEDED"
        assert stack.pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(40,)]

    def test_a_failure_is_one(self, stack: Stack) -> None:
        stack.source.snapshot = Snapshot.of([], columns=list(vehicle(1)), rows_updated_at=JULY)
        (message,) = stack.run(notify_on="changes")
        assert message["subject"] == "ev-population prod: extract FAILED, SourceError"
        assert stack.ended == "FAILED"


class TestNotifyOnFailures:
    def test_whatever_goes_well_is_none(self, stack: Stack) -> None:
        assert stack.run(notify_on="failures") == []
        assert stack.run(notify_on="failures") == []
        stack.pipeline.execute("DELETE FROM electric_vehicle_us")
        assert stack.run(notify_on="failures") == []
        assert stack.ended == "SUCCEEDED"
        assert stack.pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(40,)]

    def test_a_failure_is_one_and_links_to_the_runbook(self, stack: Stack) -> None:
        stack.source.snapshot = Snapshot.of([], columns=list(vehicle(1)), rows_updated_at=JULY)
        hold(stack.run(notify_on="failures", runbook="https://example.com/docs/operate.md"), "extract-failed-linked")


def test_an_input_with_check_in_it_publishes_all_the_same(stack: Stack) -> None:
    stack.pipeline.event |= {"check": True}
    stack.run()
    assert stack.pipeline.query("SELECT count(*) FROM electric_vehicle_us") == [(40,)]


def test_an_unchanged_version_is_loaded_again_by_force(stack: Stack) -> None:
    stack.run()
    hold(stack.run(force=True), "forced")


def test_the_next_version_changes_much_rejects_some_and_breaks_an_expectation(stack: Stack) -> None:
    stack.pipeline.set_guard("MAX_REJECTED_FRACTION", 0.5)
    stack.run()
    rows = [
        *(vehicle(key) for key in range(3, 39)),
        vehicle(39, city="Tacoma"),
        vehicle(40, electric_range="0"),
        vehicle(41),
        vehicle(42, make=""),
        vehicle(43, model_year="next"),
        vehicle(1, make=""),  # has not left
        vehicle(2, dol_vehicle_id="?"),  # has not left either, but who can tell?
    ]
    stack.source.snapshot = Snapshot.of(rows, rows_updated_at=JULY)
    hold(stack.run(), "loaded-with-rejections")


def test_an_older_version_is_superseded(stack: Stack) -> None:
    stack.source.snapshot = version(JULY)
    stack.run()
    stack.source.snapshot = version(JUNE)
    hold(stack.run(), "superseded")


def test_an_empty_source_fails_the_extraction(stack: Stack) -> None:
    stack.source.snapshot = Snapshot.of([], columns=list(vehicle(1)), rows_updated_at=JULY)
    hold(stack.run(), "extract-failed")


def test_too_many_rejected_rows_are_refused(stack: Stack) -> None:
    stack.run()
    stack.source.snapshot = version(JULY, make="")
    hold(stack.run(), "load-refused-rejected")


def test_a_shrunken_dataset_is_refused(stack: Stack) -> None:
    stack.run()
    stack.source.snapshot = version(JULY, vehicles=range(1, 21))
    hold(stack.run(), "load-refused-shrunk")


def test_a_part_that_was_changed_in_the_bucket_is_refused(stack: Stack) -> None:
    def stage(event: dict[str, Any], context: Any) -> dict[str, Any]:
        key = event["manifest_key"].replace("manifest.json", "part-00000.csv.gz")
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"somebody was here")
        return load.stage(event, context)

    stack.instead["stage"] = stage
    hold(stack.run(), "load-failed-raw-data")


def test_a_function_that_never_answers_fails_the_load(stack: Stack) -> None:
    def publish(event: dict[str, Any], context: Any) -> dict[str, Any]:
        time.sleep(3)
        return {}

    stack.instead["publish"] = publish
    hold(stack.run(seconds=2), "load-failed-no-answer")


def test_a_function_that_ran_out_of_time_fails_the_extraction(stack: Stack) -> None:
    class Timedout(Exception):  # noqa: N818 - as Lambda names it
        pass

    Timedout.__name__ = "Sandbox.Timedout"

    def out_of_time(event: dict[str, Any], context: Any) -> dict[str, Any]:
        raise Timedout("RequestId: 1a2b Error: Task timed out after 900.00 seconds")

    stack.instead["extract"] = out_of_time
    hold(stack.run(), "extract-failed-out-of-time")
