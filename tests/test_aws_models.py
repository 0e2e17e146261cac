"""What moto accepts and AWS rejects: every input of every resource against AWS's API models and documented rules."""

import copy
import dataclasses
import functools
from typing import Any

import pulumi
import pytest

from tests import state_machines
from tests.aws_models import Verdict, judge
from tests.aws_table import DOCUMENTED, MODELS, UNCOVERED
from tests.pulumi_mocks import ACCESS_VARIANTS, Recording, Resource, record_stack

VERSIONS = ("13", "15", "16", "17", "18")
OPTIONAL = {"appToken": "obviously-fake-token", "alertEmails": '["someone@example.com"]'}
RULE = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ROLE = "aws:iam/role:Role"
MACHINE = "aws:sfn/stateMachine:StateMachine"


def recordings() -> list[Recording]:
    """Return every stack that a person may choose, as far as choices make other resources or other values."""
    return [
        *(record_stack(stack, egress=egress, analystAccess=access) for stack, egress, access in ACCESS_VARIANTS),
        *(record_stack("dev", postgresVersion=version) for version in VERSIONS),
        *(record_stack(stack, **OPTIONAL) for stack in ("dev", "prod")),
    ]


@functools.cache
def verdict_on_all() -> Verdict:
    """Return the verdict on all of them; equal resources are judged once."""
    resources = {
        repr((resource.urn, resource.inputs)): resource for stack in recordings() for resource in stack.resources
    }
    return judge(resources.values())


def planted(resource: Resource, name: str, value: Any) -> Resource:
    """Return the resource with another value for one input, `vpcConfig.subnetIds` for one that is inside another."""
    inputs = copy.deepcopy(dict(resource.inputs))
    *outer, last = name.split(".")
    holder = functools.reduce(lambda found, key: found[key], outer, inputs)
    holder[last] = value
    return dataclasses.replace(resource, inputs=inputs)


def first(typ: str) -> Resource:
    """Return some resource of a type."""
    return record_stack("prod", **OPTIONAL).of(typ)[0]


def is_accepted(version: str) -> bool:
    """Return whether the program takes a version of PostgreSQL."""
    try:
        return bool(record_stack("dev", postgresVersion=version))
    except pulumi.RunError:
        return False


class TestEveryInput:
    def test_is_one_that_aws_accepts(self) -> None:
        faults = verdict_on_all().faults
        assert not faults, "\n".join(map(str, faults))

    def test_is_judged_with_each_version_of_postgresql_that_can_be_chosen(self) -> None:
        assert [version for version in map(str, range(9, 25)) if is_accepted(version)] == list(VERSIONS)

    def test_is_covered_by_a_model_or_a_rule_or_listed_with_a_reason(self) -> None:
        assert verdict_on_all().uncovered == set(), "map it in tests/aws_table.py, or list it there with the reason"

    def test_that_is_listed_as_uncovered_is_still_there(self) -> None:
        assert set(UNCOVERED) - verdict_on_all().used == set(), "stale: take it off the list in tests/aws_table.py"

    def test_every_model_and_rule_has_something_to_judge(self) -> None:
        rules = {(rule.types, rule.input) for rule in DOCUMENTED} | {(typ, "") for typ in MODELS}
        assert rules - verdict_on_all().used == set(), "stale: nothing in the stack is judged by it any more"

    def test_a_new_type_and_a_new_input_are_noticed(self) -> None:
        queue = first("aws:sqs/queue:Queue")
        new_type = dataclasses.replace(queue, typ="aws:sqs/fifo:Fifo")
        new_input = planted(queue, "delaySeconds", 3)
        new_nested_input = planted(first("aws:scheduler/schedule:Schedule"), "flexibleTimeWindow.jitter", "FULL")
        assert ("aws:sqs/fifo:Fifo", "name") in judge([new_type]).uncovered
        assert judge([new_input]).uncovered == {("aws:sqs/queue:Queue", "delaySeconds")}
        assert judge([new_nested_input]).uncovered == {("aws:scheduler/schedule:Schedule", "flexibleTimeWindow.jitter")}


# What is wrong, the type, the input, a wrong value, and a part of the rule that must be named.
PLANTED = [
    ("an apostrophe", RULE, "description", "the source's addresses", "API_IpRange.html"),
    (
        "an apostrophe",
        "aws:ec2/securityGroup:SecurityGroup",
        "description",
        "analysts' host",
        "API_CreateSecurityGroup",
    ),
    ("an empty description", RULE, "description", "", "1 to 255"),
    ("a long description", RULE, "description", "a" * 256, "1 to 255"),
    ("an em dash", ROLE, "description", "Scheduler — starts runs", "iam:CreateRole: "),
    ("a long name", ROLE, "name", "a" * 65, "length 1 to 64, not 65"),
    ("a long name", "aws:sqs/queue:Queue", "name", "a" * 81, "1 to 80"),
    ("a long name that Pulumi makes", "aws:s3/bucket:Bucket", "bucket", "a" * 64, "3 to 63"),
    ("a long name inside another", "aws:lambda/function:Function", "loggingConfig.logGroup", "a" * 513, "1 to 512"),
    ("an unknown value", "aws:lambda/function:Function", "runtime", "python3.99", "is one of "),
    (
        "an unknown value inside another",
        "aws:scheduler/schedule:Schedule",
        "flexibleTimeWindow.mode",
        "ON",
        "OFF, FLEX",
    ),
    ("a number that is too large", "aws:lambda/function:Function", "memorySize", 1_000_000.0, "lambda:CreateFunction"),
    ("a number that is too large", "aws:sqs/queue:Queue", "messageRetentionSeconds", 1_209_601.0, "1,209,600"),
    ("a text for a number", "aws:rds/instance:Instance", "allocatedStorage", "many", "type integer"),
    ("a hyphen at the end", "aws:rds/instance:Instance", "identifier", "ev-", "none at the end"),
    ("a reserved name", "aws:rds/instance:Instance", "username", "rdsadmin", "no reserved word"),
    ("a tag of AWS's own", "aws:ec2/vpc:Vpc", "tags", {"aws:name": "x"}, "50 tags at most"),
    ("a default tag", "pulumi:providers:aws", "defaultTags", '{"tags": {"Why": "it\'s ours"}}', "50 tags at most"),
    ("a policy that is too long", ROLE, "assumeRolePolicy", "{" + "a" * 2048, "2,048 characters"),
]


class TestAFault:
    @pytest.mark.parametrize(("what", "typ", "name", "value", "rule"), PLANTED, ids=[f"{p[0]}-{p[1]}" for p in PLANTED])
    def test_is_named_with_its_resource_and_input(self, what: str, typ: str, name: str, value: Any, rule: str) -> None:
        resource = first(typ)
        assert judge([resource]).faults == []
        faults = judge([planted(resource, name, value)]).faults
        assert faults, f"{what} is not noticed"
        assert all(fault.resource == resource.urn and fault.input.startswith(name) for fault in faults)
        assert rule in "\n".join(map(str, faults))

    def test_in_a_name_that_pulumi_makes_is_seen_too(self) -> None:
        bucket = first("aws:s3/bucket:Bucket")
        long = dataclasses.replace(bucket, name="a" * 56, inputs={"forceDestroy": True})  # and - and seven digits
        assert [fault.input for fault in judge([long]).faults] == ["bucket"]


class TestTheStateMachine:
    @pytest.mark.parametrize(("stack", "egress", "access"), ACCESS_VARIANTS[::2])
    def test_is_one_that_aws_accepts(self, stack: str, egress: str, access: str) -> None:
        machine = record_stack(stack, egress=egress, analystAccess=access).one(MACHINE)
        assert state_machines.faults(machine.document("definition")) == []

    @pytest.mark.parametrize(
        ("state", "changes", "told"),
        [
            ("Extract", {"ResultPath": "$.extract["}, "States.Extract.ResultPath: '$.extract[' is no JSONPath"),
            ("Extract", {"ResultPath": "extract"}, "States.Extract.ResultPath: 'extract' is no path"),
            ("ExtractFailed", {"ErrorPath": "$.failure..["}, "States.ExtractFailed.ErrorPath: "),
            ("ReadLoadFailure", {"Parameters": {"error.$": "$$.Execution.["}}, "Parameters.error.$: "),
            ("ReadLoadFailure", {"Parameters": {"a.$": "States.Format('{}', $.a"}}, "is not closed"),
            ("ReadLoadFailure", {"Parameters": {"a.$": "States.Format('{}', $.a[)"}}, "is no JSONPath"),
            ("ReadLoadFailure", {"Parameters": {"a.$": "States.Formt('a')"}}, "StatesFunctionNameType"),
            ("NotifyLoaded", {"Parameters": {"Topic": "a"}}, "sns:Publish takes no Topic"),
            ("NotifyLoaded", {"Resource": "arn:aws:states:::sns:publsh"}, "there is no sns:Publsh"),
            ("Extract", {"Parameters": {"FunctionName": "a b"}}, "NamespacedFunctionName matches"),
            ("Succeed", {"Type": "Success"}, "definition: "),
        ],
    )
    def test_with_a_fault_is_refused(self, state: str, changes: dict[str, Any], told: str) -> None:
        definition = first(MACHINE).document("definition")
        definition["States"][state] |= changes
        assert told in "\n".join(state_machines.faults(definition))
