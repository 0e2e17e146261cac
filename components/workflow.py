"""The state machine as plain data: a pure function from ARNs to Amazon States Language.

    NotifyStarted -> Extract -> SourceChanged? -> CheckTable -> TableIntact? -> NotifyUnchanged -> Succeed
                        ^             |                             |
                        |             v                             v
                        |      NotifyExtracted                 RepairTable (once)
                        |             |                             |
                        +-------------|-----------------------------+
                                      v
                                  LoadParts -> Publish -> NotifyLoaded -> Succeed

`notify_on` decides which of the Notify states exist. What still fails after its retries always goes to
NotifyExtractFailed or NotifyLoadFailed and from there to a Fail state: a failed run ends FAILED, with the handler's own
words as its cause. Payloads carry pointers into S3, so no state grows with the dataset.

JSONPath, not JSONata, on purpose: it is what local interpreters of the language can run too.
Language reference: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html
"""

from typing import Any, Final

from components.settings import NotifyOn

type State = dict[str, Any]

# The longest a Lambda function may run. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_TIMEOUT_LIMIT_SECONDS: Final = 900
TASK_TIMEOUT_SECONDS: Final = LAMBDA_TIMEOUT_LIMIT_SECONDS + 30  # the function's own limit is met first
# AWS promises no cause with this error, so the words are ours.
TIMED_OUT: Final = (
    f"A function gave no answer within {TASK_TIMEOUT_SECONDS} seconds, and none again when it was retried. Look at its "
    "log, and start a run later."
)
# Beyond this a run is not slow but stuck; a normal one takes minutes.
EXECUTION_TIMEOUT_SECONDS: Final = 3 * 60 * 60

# What can pass. https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html#bp-lambda-serviceexception
# A function that timed out, ran out of its sandbox or was killed is here too: every handler may be run again safely.
TRANSIENT_ERRORS: Final = (
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
)

# The handlers' own errors (handlers/evdata/errors.py; a test holds the two together). Their cause is always the JSON
# that the Lambda runtime makes of an exception, so its message can be taken out; any other cause is passed on as it is.
HANDLER_ERRORS: Final = (
    "TransientError",
    "InputError",
    "SourceError",
    "DriftError",
    "RawDataError",
    "RefusedError",
    "DatabaseError",
)


def definition(
    *,
    stack: str,
    extract_function_arn: str,
    stage_function_arn: str,
    publish_function_arn: str,
    topic_arn: str,
    load_concurrency: int,
    notify_on: NotifyOn,
    runbook_url: str,
) -> dict[str, Any]:
    """Return the state machine's definition, ready for `json.dumps`.

    `stack` names the stack in every notification; `load_concurrency` is how many parts are staged at once, and so how
    many database connections staging may hold. `notify_on` is every-run (start, each phase, result), changes (what a
    run published or found superseded, and failures) or failures. `runbook_url` is the address of docs/operate.md, or
    empty.
    """
    every_run, results = notify_on == "every-run", notify_on != "failures"
    errors = f"{runbook_url}#errors" if runbook_url else "docs/operate.md, Errors"
    partition, _, region = topic_arn.split(":")[1:4]
    execution_url = f"https://{region}.console.aws.amazon.com/states/home?region={region}#/v2/executions/details/"

    def notify(subject: str, message: str, *, then: str) -> State:
        return {
            "Type": "Task",
            "Resource": f"arn:{partition}:states:::sns:publish",
            "Parameters": {"TopicArn": topic_arn, "Subject.$": subject, "Message.$": message},
            "TimeoutSeconds": 30,
            "Retry": [_retry("States.ALL", attempts=3, first_seconds=1)],
            # A message that could not be sent must not cost the data, nor hide how the run ended.
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": then}],
            "ResultPath": None,
            "Next": then,
        }

    def subject(text: str, *paths: str) -> str:
        return _format(f"ev-population {stack}: {text}", *paths)

    def message(text: str, *paths: str) -> str:
        return _format(f"{text}\n\nExecution: {execution_url}{{}}", *paths, "$$.Execution.Id")

    def invoke(function_arn: str, payload: str, **rest: Any) -> State:
        return {
            "Type": "Task",
            "Resource": f"arn:{partition}:states:::lambda:invoke",
            "Parameters": {"FunctionName": function_arn, "Payload.$": payload},
            "TimeoutSeconds": TASK_TIMEOUT_SECONDS,
            "Retry": [_retry(*TRANSIENT_ERRORS, attempts=4, first_seconds=5)],
            **rest,
        }

    def failure(phase: str) -> dict[str, State]:
        """Return the states of a phase that failed: from whichever error to one in words, told and then ended with."""
        notify_failed = f"Notify{phase}Failed"
        return {
            f"Read{phase}Failure": _explain(
                cause={"cause.$": "States.StringToJson($.failure.Cause)"}, then=notify_failed
            ),
            f"Wrap{phase}Failure": _explain(cause={"cause": {"errorMessage.$": "$.failure.Cause"}}, then=notify_failed),
            f"Time{phase}Failure": _explain(cause={"cause": {"errorMessage": TIMED_OUT}}, then=notify_failed),
            notify_failed: notify(
                subject(f"{phase.lower()} FAILED, {{}}", "$.failure.error"),
                message(
                    f"{{}}: {{}}\n\nWhat it means and what to do: {errors}, {{}}.",
                    *("$.failure.error", "$.failure.cause.errorMessage", "$.failure.error"),
                ),
                then=f"{phase}Failed",
            ),
            f"{phase}Failed": {
                "Type": "Fail",
                "ErrorPath": "$.failure.error",
                "CausePath": "$.failure.cause.errorMessage",
            },
        }

    started: dict[str, State] = {
        "NotifyStarted": notify(
            subject("run started"),
            message("Looking for a new version of the source. A message follows when this has ended."),
            then="Extract",
        )
    }
    extracted: dict[str, State] = {
        "NotifyExtracted": notify(
            subject("{}", "$.extract.answer.headline"),
            message("{}", "$.extract.answer.message"),
            then="LoadParts",
        )
    }
    unchanged: dict[str, State] = {
        "NotifyUnchanged": notify(
            subject("{}", "$.check.answer.headline"),
            message("{}\n{}", "$.extract.answer.message", "$.check.answer.message"),
            then="Succeed",
        )
    }
    # Another run may have published the version meanwhile; that one has sent its own message.
    published: dict[str, State] = {
        "Changed?": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.publish.answer.status", "StringEquals": "unchanged", "Next": "Succeed"}],
            "Default": "NotifyLoaded",
        }
    }
    loaded: dict[str, State] = {
        "NotifyLoaded": notify(
            subject("{}", "$.publish.answer.headline"),
            message("{}", "$.publish.answer.message"),
            then="Succeed",
        )
    }
    after_publish = "NotifyLoaded" if every_run else "Changed?" if results else "Succeed"
    return {
        "Comment": f"Electric Vehicle Population to PostgreSQL, stack {stack}",
        "StartAt": "NotifyStarted" if every_run else "Extract",
        "TimeoutSeconds": EXECUTION_TIMEOUT_SECONDS,
        "States": {
            **(started if every_run else {}),
            "Extract": invoke(
                extract_function_arn,
                "$",  # the execution's input, or what RepairTable made of it
                ResultSelector={
                    "answer.$": "$.Payload",
                    # The input of Publish and CheckTable; the execution's own input is merged over it there.
                    "publish": {
                        "manifest_key.$": "$.Payload.manifest_key",
                        "notes.$": "$.Payload.notes",
                        "execution_id.$": "$$.Execution.Id",
                        "force": False,
                    },
                    # Merged over both, so that no execution's input turns one into the other.
                    "for_check": {"check": True},
                    "for_publish": {"check": False},
                },
                ResultPath="$.extract",
                Catch=_catch("Extract"),
                Next="SourceChanged?",
            ),
            "SourceChanged?": {
                "Type": "Choice",
                "Choices": [
                    {
                        "And": [
                            {"Variable": "$.extract.answer.status", "StringEquals": "unchanged"},
                            # A table is repaired once in a run, whatever Extract answers the second time.
                            {"Variable": "$.repairs", "IsPresent": False},
                        ],
                        "Next": "CheckTable",
                    },
                ],
                "Default": "NotifyExtracted" if every_run else "LoadParts",
            },
            # A state of its own: Extract has no route to the database, and a run may do without it some day.
            "CheckTable": invoke(
                publish_function_arn,
                _merge(_merge("$.extract.publish", "$$.Execution.Input"), "$.extract.for_check"),
                ResultSelector={
                    "answer.$": "$.Payload",
                    "repair": {"force": True, "repairs.$": "$.Payload.message"},
                },
                ResultPath="$.check",
                Catch=_catch("Load"),
                Next="TableIntact?",
            ),
            "TableIntact?": {
                "Type": "Choice",
                "Choices": [
                    {
                        "Variable": "$.check.answer.status",
                        "StringEquals": "intact",
                        "Next": "NotifyUnchanged" if every_run else "Succeed",
                    },
                ],
                "Default": "RepairTable",
            },
            "RepairTable": {
                "Type": "Pass",
                "Parameters": {"input.$": _merge("$$.Execution.Input", "$.check.repair")},
                "OutputPath": "$.input",
                "Next": "Extract",
            },
            **(unchanged if every_run else {}),
            **(extracted if every_run else {}),
            "LoadParts": {
                "Type": "Map",
                "Label": "LoadParts",
                "ItemReader": {
                    "Resource": f"arn:{partition}:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "JSON"},
                    "Parameters": {
                        "Bucket.$": "$.bucket_name",
                        "Key.$": _parts_key("$.extract.answer.manifest_key"),
                    },
                },
                "ItemSelector": {
                    "bucket_name.$": "$.bucket_name",
                    "secret_arn.$": "$.secret_arn",
                    "manifest_key.$": "$.extract.answer.manifest_key",
                    "part.$": "$$.Map.Item.Value.part",
                },
                "MaxConcurrency": load_concurrency,
                # Publish judges the parts as one and refuses by name what is not staged, with the reason that stage
                # left behind. Failing here would end the run with "tolerated failure threshold exceeded", no reason.
                "ToleratedFailurePercentage": 100.0,
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Stage",
                    "States": {"Stage": invoke(stage_function_arn, "$", OutputPath="$.Payload", End=True)},
                },
                "ResultPath": None,
                "Catch": _catch("Load"),
                "Next": "Publish",
            },
            "Publish": invoke(
                publish_function_arn,
                _merge(_merge("$.extract.publish", "$$.Execution.Input"), "$.extract.for_publish"),
                ResultSelector={"answer.$": "$.Payload"},
                ResultPath="$.publish",
                Catch=_catch("Load"),
                Next=after_publish,
            ),
            **(published if notify_on == "changes" else {}),
            **(loaded if results else {}),
            **failure("Extract"),
            **failure("Load"),
            "Succeed": {"Type": "Succeed"},
        },
    }


def _retry(*errors: str, attempts: int, first_seconds: int) -> State:
    """Back off exponentially with full jitter, so that parts which failed together do not come back together."""
    return {
        "ErrorEquals": list(errors),
        "IntervalSeconds": first_seconds,
        "MaxAttempts": attempts,
        "BackoffRate": 2,
        "MaxDelaySeconds": 120,
        "JitterStrategy": "FULL",
    }


def _catch(phase: str) -> list[State]:
    return [
        {"ErrorEquals": list(HANDLER_ERRORS), "ResultPath": "$.failure", "Next": f"Read{phase}Failure"},
        {"ErrorEquals": ["States.Timeout"], "ResultPath": "$.failure", "Next": f"Time{phase}Failure"},
        {"ErrorEquals": ["States.ALL"], "ResultPath": "$.failure", "Next": f"Wrap{phase}Failure"},
    ]


def _explain(*, cause: State, then: str) -> State:
    """Turn `{"Error", "Cause"}` into `{"error", "cause": {"errorMessage"}}`, whichever way the cause was written."""
    return {
        "Type": "Pass",
        "Parameters": {"error.$": "$.failure.Error", **cause},
        "ResultPath": "$.failure",
        "Next": then,
    }


def _format(template: str, *paths: str) -> str:
    """Return a `States.Format` of `template`, with its `{}` filled from `paths`; quotes and backslashes escaped."""
    literal = template.replace("\\", "\\\\").replace("'", "\\'")
    return f"States.Format({', '.join([f"'{literal}'", *paths])})"


def _merge(under: str, over: str) -> str:
    """Return an expression for the keys of two objects, where `over` wins. The only mode is a shallow one (false)."""
    return f"States.JsonMerge({under}, {over}, false)"


def _parts_key(manifest_key_path: str) -> str:
    """Return an expression for the key of `parts.json` beside raw_data/date=.../version=.../manifest.json."""
    folders = (f"States.ArrayGetItem(States.StringSplit({manifest_key_path}, '/'), {depth})" for depth in range(3))
    return f"States.Format('{{}}/{{}}/{{}}/parts.json', {', '.join(folders)})"
