"""The state machine, as plain data: no mock, no cloud. That it also runs is shown by the end-to-end tests."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from components import workflow
from evdata import errors
from evdata.publishing import LONGEST_HEADLINE, Outcome

FUNCTIONS = {
    f"{name}_function_arn": f"arn:aws:lambda:ap-northeast-1:123456789012:function:{name}"
    for name in ("extract", "stage", "publish")
}


@pytest.fixture
def definition() -> dict[str, Any]:
    return workflow.definition(
        stack="dev",
        **FUNCTIONS,
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:ev-population-dev",
        load_concurrency=4,
    )


def states_of(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states_of(state["ItemProcessor"])


def path_from(machine: dict[str, Any], name: str, choose: str | None = None) -> list[str]:
    """The names of the states that follow one another when nothing fails; `choose` is where a Choice leads."""
    names = [name]
    while (state := machine["States"][names[-1]])["Type"] not in ("Succeed", "Fail"):
        names.append((choose or state["Default"]) if state["Type"] == "Choice" else state["Next"])
    return names


def test_a_new_version_is_extracted_loaded_in_parts_published_and_told(definition: dict[str, Any]) -> None:
    assert path_from(definition, definition["StartAt"]) == [
        "NotifyStarted",
        "Extract",
        "SourceChanged?",
        "NotifyExtracted",
        "LoadParts",
        "Publish",
        "NotifyLoaded",
        "Succeed",
    ]


def test_an_unchanged_source_is_told_and_ends_well(definition: dict[str, Any]) -> None:
    (choice,) = definition["States"]["SourceChanged?"]["Choices"]
    assert (choice["Variable"], choice["StringEquals"]) == ("$.extract.answer.status", "unchanged")
    assert path_from(definition, choice["Next"]) == ["NotifyUnchanged", "Succeed"]


@pytest.mark.parametrize(
    ("state", "phase"), [("Extract", "Extract"), ("LoadParts", "Load"), ("Publish", "Load")], ids=str
)
def test_what_fails_is_told_and_ends_in_a_fail_state(definition: dict[str, Any], state: str, phase: str) -> None:
    ways = [catch["Next"] for catch in definition["States"][state]["Catch"]]
    assert [path_from(definition, way)[1:] for way in ways] == [[f"Notify{phase}Failed", f"{phase}Failed"]] * 3
    assert definition["States"][f"{phase}Failed"]["Type"] == "Fail", "a failed run must not end green"
    assert definition["States"][state]["Catch"][-1]["ErrorEquals"] == ["States.ALL"], "no error may slip past"


def test_every_target_exists_and_every_state_is_reached(definition: dict[str, Any]) -> None:
    reached = {definition["StartAt"]}
    for _, state in states_of(definition):
        reached |= {state.get("Next"), state.get("Default"), state.get("ItemProcessor", {}).get("StartAt")}
        reached |= {way["Next"] for key in ("Catch", "Choices") for way in state.get(key, [])}
    assert reached - {None} == {name for name, _ in states_of(definition)}


def test_functions_retry_what_can_pass_and_nothing_else(definition: dict[str, Any]) -> None:
    invoking = {name: state for name, state in states_of(definition) if ":lambda:" in state.get("Resource", "")}
    assert set(invoking) == {"Extract", "Stage", "Publish"}
    for state in invoking.values():
        assert state["Retry"] == [
            {
                "ErrorEquals": [
                    "Lambda.ServiceException",
                    "Lambda.AWSLambdaException",
                    "Lambda.SdkClientException",
                    "Lambda.ClientExecutionTimeoutException",
                    "Lambda.TooManyRequestsException",
                    "Lambda.Unknown",
                    "Runtime.ExitError",
                    "Sandbox.Timedout",
                    "States.Timeout",
                    "TransientError",
                ],
                "IntervalSeconds": 5,
                "MaxAttempts": 4,
                "BackoffRate": 2,
                "MaxDelaySeconds": 120,
                "JitterStrategy": "FULL",
            }
        ]
        assert state["TimeoutSeconds"] == 930, "more than Lambda's own limit of 900, so that its error comes first"


def test_the_machine_knows_exactly_the_errors_that_the_handlers_raise() -> None:
    classes = {
        name
        for name, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.PipelineError) and member is not errors.PipelineError
    }
    assert set(workflow.HANDLER_ERRORS) == classes


def test_a_notification_that_cannot_be_sent_does_not_stop_the_run(definition: dict[str, Any]) -> None:
    notifying = [state for _, state in states_of(definition) if ":sns:" in state.get("Resource", "")]
    assert len(notifying) == 6
    for state in notifying:
        assert state["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": state["Next"]}]
        assert state["ResultPath"] is None, "what a notification answers is of no use to anyone"


def test_subjects_stay_below_what_sns_takes_even_with_long_names_and_large_numbers() -> None:
    # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: less than 100 characters, on one line.
    machine = workflow.definition(
        stack="x" * 20,
        **FUNCTIONS,
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:t",
        load_concurrency=4,
    )
    longest = {"answer.headline": "h" * LONGEST_HEADLINE, "failure.error": "Lambda.ClientExecutionTimeoutException"}
    for _, state in states_of(machine):
        if ":sns:" in state.get("Resource", ""):
            template = re.fullmatch(
                r"States\.Format\('([^']*)'(?:, \$\.(?:\w+\.)?(\w+\.\w+))?\)", state["Parameters"]["Subject.$"]
            )
            assert template, "the subject is a format"
            subject = template[1].replace("{}", longest[template[2]] if template[2] else "")
            assert len(subject) < 100
            assert "\n" not in subject


@pytest.mark.parametrize("rows", [0, 1, 15_214, 10_000_000, 999_999_999_999])
def test_headlines_fit_into_subjects_and_always_have_the_rows(rows: int) -> None:
    for changes in (0, rows):
        for status in ("published", "unchanged", "superseded"):
            outcome = Outcome(
                status=status,
                loaded=rows,
                inserted=changes,
                updated=changes,
                removed=changes,
                rejected=changes,
                message="",
            )
            assert len(outcome.headline) <= LONGEST_HEADLINE
            assert status == "superseded" or f"{rows:,} rows" in outcome.headline


def test_payloads_carry_pointers_so_that_no_state_grows_with_the_dataset(definition: dict[str, Any]) -> None:
    parts = definition["States"]["LoadParts"]
    assert parts["ResultPath"] is None, "the answers of thousands of parts would outgrow a state"
    assert parts["ItemReader"]["Resource"] == "arn:aws:states:::s3:getObject"
    assert parts["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert set(parts["ItemSelector"]) == {"bucket_name.$", "secret_arn.$", "manifest_key.$", "part.$"}


def test_a_part_that_fails_leaves_the_verdict_to_publish_which_knows_the_reason(definition: dict[str, Any]) -> None:
    parts = definition["States"]["LoadParts"]
    assert parts["ToleratedFailurePercentage"] == 100
    assert parts["Next"] == "Publish"


def test_a_run_is_ended_after_three_hours(definition: dict[str, Any]) -> None:
    assert definition["TimeoutSeconds"] == 10_800


def test_parts_are_loaded_as_widely_as_configured(definition: dict[str, Any]) -> None:
    assert definition["States"]["LoadParts"]["MaxConcurrency"] == 4


def test_the_definition_is_json_and_the_same_each_time(definition: dict[str, Any]) -> None:
    again = workflow.definition(
        stack="dev",
        **FUNCTIONS,
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:ev-population-dev",
        load_concurrency=4,
    )
    assert json.dumps(again) == json.dumps(definition)
    assert len(json.dumps(definition)) < 1_000_000, "https://docs.aws.amazon.com/step-functions/latest/dg/limits.html"
