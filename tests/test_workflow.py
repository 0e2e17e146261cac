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


def define(notify_on: Any = "every-run", *, stack: str = "dev", runbook_url: str = "") -> dict[str, Any]:
    return workflow.definition(
        stack=stack,
        **FUNCTIONS,
        topic_arn="arn:aws:sns:ap-northeast-1:123456789012:ev-population-dev",
        load_concurrency=4,
        notify_on=notify_on,
        runbook_url=runbook_url,
    )


@pytest.fixture(params=["every-run", "changes", "failures"])
def definition(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each test holds for every `notifyOn`."""
    return define(request.param)


def states_of(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in machine["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states_of(state["ItemProcessor"])


def path_from(machine: dict[str, Any], name: str, **choices: str) -> list[str]:
    """The names of the states that follow one another when nothing fails.

    `choices` says where a Choice leads, by its name without the question mark; others take their default.
    """
    names = [name]
    while (state := machine["States"][names[-1]])["Type"] not in ("Succeed", "Fail"):
        default = state.get("Default")
        names.append(choices.get(names[-1].rstrip("?"), default) if state["Type"] == "Choice" else state["Next"])
        assert len(names) < 30, "it loops"
    return names


def without_messages(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("Notify")]


NEW_VERSION = ["Extract", "SourceChanged?", "LoadParts", "Publish"]


@pytest.mark.parametrize(
    ("notify_on", "states"),
    [
        (
            "every-run",
            ["NotifyStarted", "Extract", "SourceChanged?", "NotifyExtracted", "LoadParts", "Publish", "NotifyLoaded"],
        ),
        ("changes", [*NEW_VERSION, "Changed?", "NotifyLoaded"]),
        ("failures", NEW_VERSION),
    ],
)
def test_a_new_version_is_extracted_loaded_in_parts_and_published(notify_on: str, states: list[str]) -> None:
    machine = define(notify_on)
    assert path_from(machine, machine["StartAt"]) == [*states, "Succeed"]


@pytest.mark.parametrize(
    ("notify_on", "states"),
    [
        ("every-run", ["NotifyStarted", "Extract", "SourceChanged?", "CheckTable", "TableIntact?", "NotifyUnchanged"]),
        ("changes", ["Extract", "SourceChanged?", "CheckTable", "TableIntact?"]),
        ("failures", ["Extract", "SourceChanged?", "CheckTable", "TableIntact?"]),
    ],
)
def test_an_unchanged_source_ends_well_once_the_table_is_found_intact(notify_on: str, states: list[str]) -> None:
    machine = define(notify_on)
    intact = only_choice(machine, "TableIntact?")
    assert (intact["Variable"], intact["StringEquals"]) == ("$.check.answer.status", "intact")
    way = path_from(machine, machine["StartAt"], SourceChanged="CheckTable", TableIntact=intact["Next"])
    assert way == [*states, "Succeed"]


def only_choice(machine: dict[str, Any], state: str) -> dict[str, Any]:
    (choice,) = machine["States"][state]["Choices"]
    return dict(choice)


def test_only_an_unchanged_source_and_only_once_in_a_run_leads_to_the_check(definition: dict[str, Any]) -> None:
    assert only_choice(definition, "SourceChanged?") == {
        "And": [
            {"Variable": "$.extract.answer.status", "StringEquals": "unchanged"},
            {"Variable": "$.repairs", "IsPresent": False},
        ],
        "Next": "CheckTable",
    }


def test_a_damaged_table_is_extracted_and_loaded_again_and_cannot_loop(definition: dict[str, Any]) -> None:
    assert without_messages(path_from(definition, "CheckTable")) == [
        *("CheckTable", "TableIntact?", "RepairTable", *NEW_VERSION),
        *(["Changed?"] if "Changed?" in definition["States"] else []),
        "Succeed",
    ]
    selected = definition["States"]["CheckTable"]["ResultSelector"]["repair"]
    assert selected == {"force": True, "repairs.$": "$.Payload.message"}, "`repairs` is what SourceChanged? looks for"
    repair = definition["States"]["RepairTable"]
    assert repair["Parameters"] == {"input.$": "States.JsonMerge($$.Execution.Input, $.check.repair, false)"}
    assert repair["OutputPath"] == "$.input", "what Extract and the check answered before is gone"
    assert definition["States"]["Extract"]["Parameters"]["Payload.$"] == "$"


def test_the_check_is_the_publish_function_asked_to_publish_nothing(definition: dict[str, Any]) -> None:
    check, publish = (definition["States"][name]["Parameters"] for name in ("CheckTable", "Publish"))
    assert check["FunctionName"] == publish["FunctionName"] == FUNCTIONS["publish_function_arn"]
    selected = definition["States"]["Extract"]["ResultSelector"]
    for payload, overrides, value in ((check, "for_check", True), (publish, "for_publish", False)):
        assert payload["Payload.$"] == (
            "States.JsonMerge(States.JsonMerge($.extract.publish, $$.Execution.Input, false), "
            f"$.extract.{overrides}, false)"
        ), "no input of an execution turns one into the other"
        assert selected[overrides] == {"check": value}


def test_a_run_that_only_found_its_version_published_by_a_twin_is_no_change() -> None:
    twin = only_choice(define("changes"), "Changed?")
    assert twin == {"Variable": "$.publish.answer.status", "StringEquals": "unchanged", "Next": "Succeed"}


@pytest.mark.parametrize(
    ("notify_on", "messages"),
    [
        ("every-run", {"NotifyStarted", "NotifyUnchanged", "NotifyExtracted", "NotifyLoaded"}),
        ("changes", {"NotifyLoaded"}),
        ("failures", set()),
    ],
)
def test_no_state_publishes_what_nobody_wants_and_failures_are_always_sent(notify_on: str, messages: set[str]) -> None:
    publishing = {name for name, state in states_of(define(notify_on)) if ":sns:" in state.get("Resource", "")}
    assert publishing == messages | {"NotifyExtractFailed", "NotifyLoadFailed"}
    assert publishing == {name for name, _ in states_of(define(notify_on)) if name.startswith("Notify")}


def test_a_failure_leads_to_the_runbook_and_links_to_it_where_its_address_is_known() -> None:
    def text(**given: str) -> str:
        return str(define(**given)["States"]["NotifyLoadFailed"]["Parameters"]["Message.$"])

    assert "What it means and what to do: docs/operate.md, Errors, {}." in text()
    linked = text(runbook_url="https://example.com/operate.md")
    assert "What it means and what to do: https://example.com/operate.md#errors, {}." in linked
    assert "docs/operate.md" not in linked


@pytest.mark.parametrize(
    ("state", "phase"),
    [("Extract", "Extract"), ("CheckTable", "Load"), ("LoadParts", "Load"), ("Publish", "Load")],
    ids=str,
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
    assert set(invoking) == {"Extract", "CheckTable", "Stage", "Publish"}
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
    assert notifying
    for state in notifying:
        assert state["Catch"] == [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": state["Next"]}]
        assert state["ResultPath"] is None, "what a notification answers is of no use to anyone"


def test_subjects_stay_below_what_sns_takes_even_with_long_names_and_large_numbers() -> None:
    # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html: less than 100 characters, on one line.
    machine = define(stack="x" * 20)
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
                kept=changes,
                message="",
            )
            assert len(outcome.headline) <= LONGEST_HEADLINE
            shown = outcome.rows if status == "unchanged" else rows
            assert status == "superseded" or f"{shown:,} rows" in outcome.headline


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


@pytest.mark.parametrize("notify_on", ["every-run", "changes", "failures"])
def test_the_definition_is_json_and_the_same_each_time(notify_on: str) -> None:
    definition = define(notify_on)
    assert json.dumps(define(notify_on)) == json.dumps(definition)
    assert len(json.dumps(definition)) < 1_000_000, "https://docs.aws.amazon.com/step-functions/latest/dg/limits.html"
