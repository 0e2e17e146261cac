"""Starts the state machine as its schedule would, and follows it to its end."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from local.cloud import Cloud

POLL_SECONDS: Final = 0.2
COUNTS: Final = ("source", "loaded", "inserted", "updated", "removed", "unchanged", "rejected", "kept")
OUTBOX: Final = "local-notifications"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state that the execution went through. `status` is RUNNING, SUCCEEDED or FAILED."""

    name: str
    status: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended."""

    status: str
    error: str | None
    cause: str | None
    states: Sequence[State]
    output: Mapping[str, Any]

    @property
    def extracted(self) -> Mapping[str, Any]:
        """Extract's answer, if it gave one."""
        return dict((self.output.get("extract") or {}).get("answer") or {})

    @property
    def checked(self) -> Mapping[str, Any]:
        """CheckTable's answer, if it gave one and the table needed no repair."""
        return dict((self.output.get("check") or {}).get("answer") or {})

    @property
    def published(self) -> Mapping[str, Any]:
        """Publish's answer, if it gave one."""
        return dict((self.output.get("publish") or {}).get("answer") or {})

    @property
    def counts(self) -> dict[str, int]:
        """Publish's counts; none when there was nothing to publish."""
        return {name: self.published[name] for name in COUNTS if name in self.published}


class Execution:
    """One execution, started with what the schedule carries (and `force`, if asked for)."""

    def __init__(self, cloud: Cloud, *, schedule: str, force: bool = False) -> None:
        self._states = cloud.client("stepfunctions")
        target = _schedule(cloud, schedule)["Target"]
        event = json.loads(target["Input"]) | ({"force": True} if force else {})
        # A name of its own, as Step Functions would make: moto makes none, and publishing knows an execution by it.
        self._arn = self._states.start_execution(
            stateMachineArn=target["Arn"], name=str(uuid.uuid4()), input=json.dumps(event)
        )["executionArn"]
        self._ended = False

    def follow(self) -> Iterator[list[State]]:
        """What it went through so far, again and again until it has ended."""
        while not self._ended:
            status = self._states.describe_execution(executionArn=self._arn)["status"]
            yield self._history()
            self._ended = status != "RUNNING"
            if not self._ended:
                time.sleep(POLL_SECONDS)

    def outcome(self) -> Outcome:
        """How it ended; call it when `follow` is through."""
        found = self._states.describe_execution(executionArn=self._arn)
        return Outcome(
            status=found["status"],
            error=found.get("error"),
            cause=found.get("cause"),
            states=self._history(),
            output=json.loads(found.get("output") or "{}"),
        )

    def _history(self) -> list[State]:
        pages = self._states.get_paginator("get_execution_history").paginate(executionArn=self._arn)
        return states_of([event for page in pages for event in page["events"]])


def states_of(events: Sequence[Mapping[str, Any]]) -> list[State]:
    """The states in a history of the machine itself, in the order in which they were entered.

    A state has failed when the last attempt of what it does failed, even if the machine caught that; one that was
    retried with success has not.
    """
    states: list[State] = []
    entered = 0.0
    for event in events:
        kind, at = event["type"], event["timestamp"].timestamp()
        if kind.endswith("StateEntered"):
            entered = at
            status = "FAILED" if kind == "FailStateEntered" else "RUNNING"
            states.append(State(name=event["stateEnteredEventDetails"]["name"], status=status, seconds=0.0))
        elif not states:
            continue
        elif kind in {"TaskFailed", "TaskTimedOut", "MapRunFailed", "MapStateFailed", "LambdaFunctionFailed"}:
            states[-1] = replace(states[-1], status="FAILED")
        elif kind in {"TaskScheduled", "TaskSucceeded", "MapRunSucceeded"}:
            states[-1] = replace(states[-1], status="RUNNING")
        elif kind.endswith("StateExited"):
            status = "FAILED" if states[-1].status == "FAILED" else "SUCCEEDED"
            states[-1] = replace(states[-1], status=status, seconds=round(at - entered, 3))
    return states


def collect_notifications(cloud: Cloud, topic_arn: str) -> None:
    """Have everything that is published to the topic kept for `notifications`."""
    sqs = cloud.client("sqs")
    url = sqs.create_queue(QueueName=OUTBOX)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    cloud.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)


def notifications(cloud: Cloud) -> list[dict[str, str]]:
    """What was published to the topic, in order: `{"subject", "message"}` each."""
    sqs = cloud.client("sqs")
    url = sqs.get_queue_url(QueueName=OUTBOX)["QueueUrl"]
    found: list[dict[str, str]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            envelope = json.loads(message["Body"])
            found.append({"subject": envelope.get("Subject", ""), "message": envelope["Message"]})
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def _schedule(cloud: Cloud, name: str) -> dict[str, Any]:
    scheduler = cloud.client("scheduler")
    listed = scheduler.list_schedules(NamePrefix=name)["Schedules"]
    group = next(item["GroupName"] for item in listed if item["Name"] == name)
    found: dict[str, Any] = scheduler.get_schedule(Name=name, GroupName=group)
    return found
