"""The whole program, as it stands, for both stacks and every way out: what holds everywhere."""

import json
import runpy
from typing import Any, NoReturn

import pulumi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components import packaging
from components.stack_config import load_stack_config
from tests.pulumi_mocks import (
    ACCESS_VARIANTS,
    ACCOUNT,
    COMPONENT,
    PROJECT,
    PROVIDER,
    REGION,
    Recording,
    Resource,
    record,
    record_stack,
    record_stack_anew,
    run_program,
    statements,
)

SECRETS = ("ev-population:appToken",)
everywhere = pytest.mark.parametrize(("stack", "egress", "access"), ACCESS_VARIANTS)

# https://docs.aws.amazon.com: the quotas page of each service
LONGEST_NAME = {
    "aws:iam/role:Role": 64,
    "aws:iam/instanceProfile:InstanceProfile": 128,
    "aws:lambda/function:Function": 64,
    "aws:lambda/layerVersion:LayerVersion": 64,
    "aws:scheduler/schedule:Schedule": 64,
    "aws:sfn/stateMachine:StateMachine": 80,
    "aws:sqs/queue:Queue": 80,
    "aws:sns/topic:Topic": 256,
    "aws:cloudwatch/eventRule:EventRule": 64,
    "aws:cloudwatch/metricAlarm:MetricAlarm": 255,
    "aws:cloudwatch/logGroup:LogGroup": 512,
    "aws:kms/alias:Alias": 256,
    "aws:rds/instance:Instance": 63,
    # Pulumi adds a hyphen and seven digits to these
    "aws:s3/bucket:Bucket": 63 - 8,
    "aws:rds/subnetGroup:SubnetGroup": 255 - 8,
    "aws:rds/parameterGroup:ParameterGroup": 255 - 8,
    "aws:ec2/securityGroup:SecurityGroup": 255 - 8,
    "aws:secretsmanager/secret:Secret": 512 - 8,
}
PHYSICAL = ("name", "identifier", "layerName", "dashboardName")
# What people and other stacks meet by name, so what must not change without a thought.
DEPLOYED_NAMES = {
    "aws:iam/role:Role": {"extract", "stage", "publish", "states", "schedule", "flow-logs", "db-monitoring"},
    "aws:lambda/function:Function": {"extract", "stage", "publish"},
    "aws:sqs/queue:Queue": {"not-started"},
    "aws:cloudwatch/eventRule:EventRule": {"stopped-runs"},
}


def documents(recording: Recording) -> list[tuple[str, dict[str, Any]]]:
    """Return every policy in a recording with where it stands."""
    return [
        (f"{resource.typ} {resource.name} {key}", resource.document(key))
        for resource in recording.resources
        for key in ("policy", "assumeRolePolicy")
        if key in resource.inputs
    ]


class TestOutputs:
    @everywhere
    def test_are_those_that_others_rely_on(self, stack: str, egress: str, access: str) -> None:
        outputs = record_stack(stack, egress=egress, analystAccess=access).outputs
        prefix = f"ev-population-{stack}"
        assert outputs == {
            "bucketName": f"{prefix}-raw-1a2b3c4",
            "secretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{prefix}-pipeline-1a2b3c4-AbCdEf",
            "databaseEndpoint": f"{prefix}.abc.{REGION}.rds.amazonaws.com:5432",
            "stateMachineArn": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{prefix}",
            "scheduleName": prefix,
            "topicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{prefix}",
            "dashboardUrl": (
                f"https://{REGION}.console.aws.amazon.com/cloudwatch/home?region={REGION}#dashboards/dashboard/{prefix}"
            ),
            "vpcId": f"{prefix}-vpc-id",
        } | ({} if access == "none" else {"analystCommand": outputs["analystCommand"]})


class TestRefusals:
    """The CLI shows a RunError as its message alone; any other exception as a bug, with a traceback."""

    def test_wrong_config_is_shown_whole_and_creates_nothing(self) -> None:
        recording = Recording()
        with pytest.raises(pulumi.RunError) as refused:
            record_stack_anew("dev", {"databaseStorageGb": "5", "egress": "nat"}, recording)
        assert str(refused.value) == (
            "The stack's config has 2 wrong values; nothing was changed.\n\n"
            "ev-population:egress = 'nat'\n"
            "  refused: it should be 'nat-gateway', 'nat-instance' or 'lambda-managed'\n"
            "  rule:    nat-gateway, nat-instance or lambda-managed\n"
            "  example: ev-population:egress: nat-gateway\n\n"
            "ev-population:databaseStorageGb = '5'\n"
            "  refused: it should be greater than or equal to 20\n"
            "  rule:    whole GB from 20, the least that gp3 has, to 10000\n"
            "  example: ev-population:databaseStorageGb: 20"
        )
        assert recording.resources == []

    def test_a_wrong_stack_name_is_shown_and_creates_nothing(self) -> None:
        recording = Recording()
        config = load_stack_config(PROJECT, "dev")
        with pytest.raises(pulumi.RunError, match=r"^Stack name 'Bad_Name' cannot stand in AWS names: .*rename dev$"):
            record(run_program, stack="Bad_Name", config=config, secret_keys=SECRETS, recording=recording)
        assert recording.resources == []

    def test_packages_that_cannot_be_had_are_shown_and_create_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def build(_: str) -> NoReturn:
            raise packaging.PackagingError("could not install requirements.txt")

        monkeypatch.setattr(packaging, "build", build)
        recording = Recording()
        with pytest.raises(pulumi.RunError, match=r"^could not install requirements\.txt$"):
            record(
                lambda: runpy.run_path(str(PROJECT / "__main__.py"), run_name="__main__"),
                config=load_stack_config(PROJECT, "dev"),
                secret_keys=SECRETS,
                recording=recording,
            )
        assert recording.resources == []


class TestStructure:
    @everywhere
    def test_every_resource_but_the_provider_belongs_to_a_component(self, stack: str, egress: str, access: str) -> None:
        for resource in record_stack(stack, egress=egress, analystAccess=access).resources:
            parent = resource.parent.split("::")[2].split("$")[-1]
            if resource.typ == PROVIDER or (not resource.custom and parent == "pulumi:pulumi:Stack"):
                continue
            assert parent.startswith(COMPONENT), f"{resource.typ} {resource.name} is the child of {parent}"

    @everywhere
    def test_every_component_is_there_once_and_of_one_package(self, stack: str, egress: str, access: str) -> None:
        recording = record_stack(stack, egress=egress, analystAccess=access)
        components = [resource.typ.removeprefix(COMPONENT) for resource in recording.resources if not resource.custom]
        inner = {"nat-gateway": ["Egress"], "nat-instance": ["Egress", "NatInstance"], "lambda-managed": []}[egress]
        inner += ["AnalystAccess"] if access == "ssm" else []
        assert sorted(components) == sorted(
            [
                "Database",
                "Encryption",
                "Functions",
                "Monitoring",
                "Network",
                "Notifications",
                "Orchestration",
                "Storage",
                *inner,
            ]
        )

    @everywhere
    def test_no_two_resources_of_a_type_share_a_name(self, stack: str, egress: str, access: str) -> None:
        keys = [
            (resource.typ, resource.name)
            for resource in record_stack(stack, egress=egress, analystAccess=access).resources
        ]
        assert len(keys) == len(set(keys))

    @everywhere
    def test_everything_is_made_by_the_provider_that_tags_it(self, stack: str, egress: str, access: str) -> None:
        recording = record_stack(stack, egress=egress, analystAccess=access)
        provider = recording.one(PROVIDER)
        tags = json.loads(provider.inputs["defaultTags"])["tags"]
        assert tags == {
            "Project": "ev-population",
            "Stack": stack,
            "ManagedBy": "pulumi",
            "DataClassification": "public",
        }
        assert provider.inputs["region"] == REGION
        for resource in recording.resources:
            if resource.custom and resource.typ != PROVIDER:
                assert resource.provider.startswith(provider.urn), f"{resource.name} escapes the tags"

    @everywhere
    def test_running_it_twice_asks_for_the_same_so_a_preview_without_a_change_shows_none(
        self, stack: str, egress: str, access: str
    ) -> None:
        def asked(recording: Recording) -> dict[str, Resource]:
            return {resource.urn: resource for resource in recording.resources}

        assert asked(record_stack_anew(stack, {"egress": egress, "analystAccess": access})) == asked(
            record_stack_anew(stack, {"egress": egress, "analystAccess": access})
        )


class TestNames:
    @everywhere
    def test_carry_project_and_stack(self, stack: str, egress: str, access: str) -> None:
        for resource in record_stack(stack, egress=egress, analystAccess=access).resources:
            assert resource.name.startswith(f"ev-population-{stack}"), resource.typ
            for key in PHYSICAL:
                if key in resource.inputs and resource.typ != "aws:iam/rolePolicy:RolePolicy":
                    assert f"ev-population-{stack}" in resource.inputs[key], f"{resource.typ} {resource.name}"

    @everywhere
    def test_of_two_stacks_in_one_account_never_collide(self, stack: str, egress: str, access: str) -> None:
        def physical(recording: Recording) -> set[tuple[str, str]]:
            return {
                (resource.typ, resource.inputs[key])
                for resource in recording.resources
                for key in PHYSICAL
                if key in resource.inputs and resource.typ != "aws:iam/rolePolicy:RolePolicy"  # it lives in its role
            }

        other = "prod" if stack == "dev" else "dev"
        assert not physical(record_stack(stack, egress=egress, analystAccess=access)) & physical(
            record_stack(other, egress=egress)
        )

    @everywhere
    def test_fit_aws_limits_for_the_longest_stack_name_too(self, stack: str, egress: str, access: str) -> None:
        longer = 20 - len(stack)  # the longest name that a stack may have
        for resource in record_stack(stack, egress=egress, analystAccess=access).resources:
            if resource.typ in LONGEST_NAME:
                name = next((resource.inputs[key] for key in PHYSICAL if key in resource.inputs), resource.name)
                assert len(name) + longer <= LONGEST_NAME[resource.typ], f"{resource.typ} {name}"

    @pytest.mark.parametrize("typ", DEPLOYED_NAMES)
    def test_are_as_they_were_deployed(self, typ: str) -> None:
        names = {resource.inputs["name"] for resource in record_stack("prod").of(typ)}
        assert names == {f"ev-population-prod-{role}" for role in DEPLOYED_NAMES[typ]}

    @pytest.mark.parametrize(
        "typ",
        ["aws:sfn/stateMachine:StateMachine", "aws:scheduler/schedule:Schedule", "aws:sns/topic:Topic"],
    )
    def test_of_what_people_meet_are_the_stacks_own(self, typ: str) -> None:
        assert record_stack("prod").one(typ).inputs["name"] == "ev-population-prod"


class TestPermissions:
    @everywhere
    def test_no_policy_allows_a_wildcard_action(self, stack: str, egress: str, access: str) -> None:
        for where, document in documents(record_stack(stack, egress=egress, analystAccess=access)):
            for statement in statements(document):
                assert not [action for action in statement["Action"] if "*" in action], where

    @everywhere
    def test_every_resource_is_allowed_only_where_aws_takes_nothing_narrower(
        self, stack: str, egress: str, access: str
    ) -> None:
        forced = {
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            *(f"ssmmessages:{verb}{channel}Channel" for verb in ("Create", "Open") for channel in ("Control", "Data")),
            *(f"logs:{verb}LogDelivery" for verb in ("Create", "Get", "Update", "Delete")),
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        }
        for where, document in documents(record_stack(stack, egress=egress, analystAccess=access)):
            for statement in statements(document):
                if "*" in statement.get("Resource", []) and not where.startswith("aws:kms/key:Key"):
                    assert set(statement["Action"]) <= forced, where

    @everywhere
    def test_everybody_is_let_in_only_under_a_condition(self, stack: str, egress: str, access: str) -> None:
        for where, document in documents(record_stack(stack, egress=egress, analystAccess=access)):
            for statement in statements(document):
                if statement.get("Principal") in ("*", {"AWS": "*"}):
                    assert statement.get("Condition"), where


class TestData:
    @everywhere
    def test_every_log_group_is_encrypted_and_ends(self, stack: str, egress: str, access: str) -> None:
        days = {"dev": 14, "prod": 365}[stack]
        groups = record_stack(stack, egress=egress, analystAccess=access).of("aws:cloudwatch/logGroup:LogGroup")
        name = f"ev-population-{stack}"
        assert {group.inputs["name"] for group in groups} == {
            f"/aws/lambda/{name}-extract",
            f"/aws/lambda/{name}-stage",
            f"/aws/lambda/{name}-publish",
            f"/aws/rds/instance/{name}/postgresql",
            f"/aws/rds/instance/{name}/upgrade",
            f"/aws/vendedlogs/states/{name}",
            f"/aws/vpc/{name}",
        }
        for group in groups:
            assert group.inputs["retentionInDays"] == days
            assert group.inputs["kmsKeyId"].startswith("arn:aws:kms:")

    @pytest.mark.parametrize("typ", ["aws:kms/key:Key", "aws:s3/bucket:Bucket", "aws:rds/instance:Instance"])
    def test_what_holds_data_is_protected_in_prod(self, typ: str) -> None:
        assert record_stack("prod").one(typ).protect

    def test_protection_is_taken_off_by_one_key_for_a_teardown(self) -> None:
        assert not any(resource.protect for resource in record_stack("prod", deletionProtection="false").resources)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    zones=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=6, unique=True),
    egress=st.sampled_from(["nat-gateway", "nat-instance", "lambda-managed"]),
    multi_az=st.booleans(),
    access=st.sampled_from(["none", "ssm"]),
    prefix=st.integers(16, 23),
)
def test_any_valid_config_makes_a_stack(
    zones: list[str], egress: str, access: str, *, multi_az: bool, prefix: int
) -> None:
    recording = record_stack_anew(
        "dev",
        {
            "availabilityZones": json.dumps([f"ap-northeast-1{letter}" for letter in zones]),
            "egress": egress,
            "databaseMultiAz": json.dumps(multi_az),
            "analystAccess": access,
            "vpcCidr": f"10.0.0.0/{prefix}",
        },
    )
    subnets = recording.of("aws:ec2/subnet:Subnet")
    assert len(subnets) == len(zones) * (1 if egress == "lambda-managed" else 3)
    assert len({subnet.inputs["cidrBlock"] for subnet in subnets}) == len(subnets)
