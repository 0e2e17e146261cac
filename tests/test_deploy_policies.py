"""The IAM policies in docs/policies: real actions, no wildcards, and exactly what the program's resources need."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from tests.pulumi_mocks import ACCESS_VARIANTS, ACCOUNT, PROJECT, Recording, record_stack, statements

POLICIES = sorted((PROJECT / "docs" / "policies").glob("*.json"))
MODELS = {"states": ("stepfunctions",), "s3": ("s3", "s3control")}
# Actions that no operation is named after.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
NO_OPERATION = {
    "iam:PassRole",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "s3:DeleteObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
}


def actions(service: str, names: str) -> set[str]:
    return {f"{service}:{name}" for name in names.split()}


TAGS = "TagResource UntagResource"
RULES = actions("ec2", "CreateTags DeleteTags ModifySecurityGroupRules")
# What the AWS provider calls to create, change and delete each type; ReadOnlyAccess covers what it calls to read.
# https://github.com/hashicorp/terraform-provider-aws/tree/v6.47.1/internal/service
NEEDS: dict[str, set[str]] = {
    "cloudwatch/dashboard:Dashboard": actions("cloudwatch", "PutDashboard DeleteDashboards"),
    "cloudwatch/eventRule:EventRule": actions("events", f"PutRule DeleteRule {TAGS}"),
    "cloudwatch/eventTarget:EventTarget": actions("events", "PutTargets RemoveTargets"),
    "cloudwatch/logGroup:LogGroup": actions(
        "logs",
        "CreateLogGroup DeleteLogGroup PutRetentionPolicy DeleteRetentionPolicy AssociateKmsKey DisassociateKmsKey"
        f" {TAGS}",
    ),
    "cloudwatch/metricAlarm:MetricAlarm": actions("cloudwatch", f"PutMetricAlarm DeleteAlarms {TAGS}"),
    "ec2/defaultSecurityGroup:DefaultSecurityGroup": actions(
        "ec2", "RevokeSecurityGroupEgress RevokeSecurityGroupIngress CreateTags DeleteTags"
    ),
    "ec2/eip:Eip": actions("ec2", "AllocateAddress DisassociateAddress ReleaseAddress CreateTags DeleteTags"),
    "ec2/flowLog:FlowLog": actions("ec2", "CreateFlowLogs DeleteFlowLogs CreateTags DeleteTags")
    | actions("logs", "CreateLogDelivery DeleteLogDelivery")
    | {"iam:PassRole"},
    "ec2/instance:Instance": actions(
        "ec2",
        "RunInstances StartInstances StopInstances TerminateInstances ModifyInstanceAttribute"
        " ModifyInstanceCreditSpecification ModifyInstanceMaintenanceOptions ModifyInstanceMetadataOptions ModifyVolume"
        " AssociateIamInstanceProfile DisassociateIamInstanceProfile ReplaceIamInstanceProfileAssociation"
        " CreateTags DeleteTags",
    )
    | {"iam:PassRole", "ssm:GetParameter"},
    "ec2/internetGateway:InternetGateway": actions(
        "ec2",
        "CreateInternetGateway DeleteInternetGateway AttachInternetGateway DetachInternetGateway CreateTags DeleteTags",
    ),
    "ec2/natGateway:NatGateway": actions("ec2", "CreateNatGateway DeleteNatGateway CreateTags DeleteTags"),
    "ec2/route:Route": actions("ec2", "CreateRoute DeleteRoute ReplaceRoute"),
    "ec2/routeTable:RouteTable": actions("ec2", "CreateRouteTable DeleteRouteTable CreateTags DeleteTags"),
    "ec2/routeTableAssociation:RouteTableAssociation": actions(
        "ec2", "AssociateRouteTable DisassociateRouteTable ReplaceRouteTableAssociation"
    ),
    # A new group allows everything out, which the provider revokes; what Lambda leaves behind it detaches and deletes.
    "ec2/securityGroup:SecurityGroup": actions(
        "ec2",
        "CreateSecurityGroup DeleteSecurityGroup RevokeSecurityGroupEgress DetachNetworkInterface"
        " DeleteNetworkInterface CreateTags DeleteTags",
    ),
    "ec2/subnet:Subnet": actions(
        "ec2",
        "CreateSubnet DeleteSubnet ModifySubnetAttribute DetachNetworkInterface DeleteNetworkInterface"
        " CreateTags DeleteTags",
    ),
    "ec2/vpc:Vpc": actions("ec2", "CreateVpc DeleteVpc ModifyVpcAttribute CreateTags DeleteTags"),
    "ec2/vpcEndpoint:VpcEndpoint": actions(
        "ec2", "CreateVpcEndpoint DeleteVpcEndpoints ModifyVpcEndpoint CreateTags DeleteTags"
    ),
    "iam/instanceProfile:InstanceProfile": actions(
        "iam",
        "CreateInstanceProfile DeleteInstanceProfile AddRoleToInstanceProfile RemoveRoleFromInstanceProfile PassRole"
        " TagInstanceProfile UntagInstanceProfile",
    ),
    "iam/role:Role": actions(
        "iam", "CreateRole DeleteRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy TagRole UntagRole"
    ),
    "iam/rolePolicy:RolePolicy": actions("iam", "PutRolePolicy DeleteRolePolicy"),
    "iam/rolePolicyAttachment:RolePolicyAttachment": actions("iam", "AttachRolePolicy DetachRolePolicy"),
    "kms/alias:Alias": actions("kms", "CreateAlias DeleteAlias UpdateAlias"),
    "kms/key:Key": actions(
        "kms",
        "CreateKey ScheduleKeyDeletion PutKeyPolicy EnableKey DisableKey EnableKeyRotation DisableKeyRotation"
        f" UpdateKeyDescription {TAGS}",
    ),
    "lambda/function:Function": actions(
        "lambda",
        f"CreateFunction DeleteFunction UpdateFunctionCode UpdateFunctionConfiguration GetLayerVersion {TAGS}",
    )
    | {"iam:PassRole"},
    "lambda/layerVersion:LayerVersion": actions("lambda", "PublishLayerVersion DeleteLayerVersion GetLayerVersion"),
    # RDS keeps the master password in Secrets Manager, under the stack's key, as whoever creates the database.
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html#rds-secrets-manager-permissions
    "rds/instance:Instance": actions(
        "rds",
        "CreateDBInstance DeleteDBInstance ModifyDBInstance RebootDBInstance CreateDBSnapshot"
        " AddTagsToResource RemoveTagsFromResource",
    )
    | actions("kms", "CreateGrant Decrypt DescribeKey GenerateDataKey")
    | actions("secretsmanager", "CreateSecret TagResource")
    | actions("iam", "CreateServiceLinkedRole PassRole"),
    "rds/parameterGroup:ParameterGroup": actions(
        "rds",
        "CreateDBParameterGroup DeleteDBParameterGroup ModifyDBParameterGroup ResetDBParameterGroup"
        " AddTagsToResource RemoveTagsFromResource",
    ),
    "rds/subnetGroup:SubnetGroup": actions(
        "rds",
        "CreateDBSubnetGroup DeleteDBSubnetGroup ModifyDBSubnetGroup AddTagsToResource RemoveTagsFromResource",
    ),
    # A bucket that is not durable is emptied first, versions and all.
    "s3/bucket:Bucket": actions(
        "s3",
        "CreateBucket DeleteBucket DeleteObject DeleteObjectVersion ListBucket ListBucketVersions PutBucketTagging"
        f" {TAGS}",
    ),
    "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": actions("s3", "PutLifecycleConfiguration"),
    "s3/bucketOwnershipControls:BucketOwnershipControls": actions("s3", "PutBucketOwnershipControls"),
    "s3/bucketPolicy:BucketPolicy": actions("s3", "PutBucketPolicy DeleteBucketPolicy"),
    "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": actions("s3", "PutBucketPublicAccessBlock"),
    "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": actions(
        "s3", "PutEncryptionConfiguration"
    ),
    "s3/bucketVersioning:BucketVersioning": actions("s3", "PutBucketVersioning"),
    "scheduler/schedule:Schedule": actions("scheduler", "CreateSchedule DeleteSchedule UpdateSchedule")
    | {"iam:PassRole"},
    "secretsmanager/secret:Secret": actions(
        "secretsmanager", f"CreateSecret DeleteSecret UpdateSecret DeleteResourcePolicy {TAGS}"
    ),
    "secretsmanager/secretVersion:SecretVersion": actions(
        "secretsmanager", "GetSecretValue PutSecretValue UpdateSecretVersionStage"
    )
    | actions("kms", "Decrypt Encrypt GenerateDataKey"),
    "sfn/stateMachine:StateMachine": actions(
        "states",
        f"CreateStateMachine DeleteStateMachine UpdateStateMachine ValidateStateMachineDefinition {TAGS}",
    )
    | {"iam:PassRole"},
    "sns/topic:Topic": actions("sns", f"CreateTopic DeleteTopic SetTopicAttributes {TAGS}"),
    "sns/topicPolicy:TopicPolicy": actions("sns", "SetTopicAttributes"),
    "sns/topicSubscription:TopicSubscription": actions("sns", "Subscribe Unsubscribe SetSubscriptionAttributes"),
    "sqs/queue:Queue": actions("sqs", "CreateQueue DeleteQueue SetQueueAttributes TagQueue UntagQueue"),
    "sqs/queuePolicy:QueuePolicy": actions("sqs", "SetQueueAttributes"),
    "vpc/securityGroupEgressRule:SecurityGroupEgressRule": RULES
    | actions("ec2", "AuthorizeSecurityGroupEgress RevokeSecurityGroupEgress"),
    "vpc/securityGroupIngressRule:SecurityGroupIngressRule": RULES
    | actions("ec2", "AuthorizeSecurityGroupIngress RevokeSecurityGroupIngress"),
}
# Pulumi's own state in its bucket, and the key of its secrets.
STATE = actions("s3", "GetObject PutObject DeleteObject ListBucket") | actions("kms", "Encrypt Decrypt")

# Types that have a name of ours: the input with the name, an action on it, and the resource's ARN after `arn:aws:`.
BY_NAME = [
    ("iam/role:Role", "name", "iam:CreateRole", "iam::ACCOUNT:role/{}"),
    ("iam/instanceProfile:InstanceProfile", "name", "iam:CreateInstanceProfile", "iam::ACCOUNT:instance-profile/{}"),
    ("lambda/function:Function", "name", "lambda:CreateFunction", "lambda:REGION:ACCOUNT:function:{}"),
    ("lambda/layerVersion:LayerVersion", "layerName", "lambda:GetLayerVersion", "lambda:REGION:ACCOUNT:layer:{}:1"),
    ("cloudwatch/logGroup:LogGroup", "name", "logs:CreateLogGroup", "logs:REGION:ACCOUNT:log-group:{}:*"),
    ("cloudwatch/metricAlarm:MetricAlarm", "name", "cloudwatch:PutMetricAlarm", "cloudwatch:REGION:ACCOUNT:alarm:{}"),
    ("cloudwatch/dashboard:Dashboard", "dashboardName", "cloudwatch:PutDashboard", "cloudwatch::ACCOUNT:dashboard/{}"),
    ("cloudwatch/eventRule:EventRule", "name", "events:PutRule", "events:REGION:ACCOUNT:rule/{}"),
    ("kms/alias:Alias", "name", "kms:CreateAlias", "kms:REGION:ACCOUNT:{}"),
    ("rds/instance:Instance", "identifier", "rds:CreateDBInstance", "rds:REGION:ACCOUNT:db:{}"),
    ("scheduler/schedule:Schedule", "name", "scheduler:CreateSchedule", "scheduler:REGION:ACCOUNT:schedule/default/{}"),
    ("sfn/stateMachine:StateMachine", "name", "states:CreateStateMachine", "states:REGION:ACCOUNT:stateMachine:{}"),
    ("sns/topic:Topic", "name", "sns:CreateTopic", "sns:REGION:ACCOUNT:{}"),
    ("sqs/queue:Queue", "name", "sqs:CreateQueue", "sqs:REGION:ACCOUNT:{}"),
]


def policy(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PROJECT / "docs" / "policies" / f"{name}.json").read_text())
    return loaded


def allowed(name: str) -> set[str]:
    return {action for statement in statements(policy(name)) for action in statement["Action"]}


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [
        record_stack(
            stack, egress=egress, analystAccess=access, appToken="example-app-token", alertEmails='["a@b.org"]'
        )
        for stack, egress, access in ACCESS_VARIANTS
    ]


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
class TestEveryPolicy:
    def test_allows_actions_that_exist_and_names_each(self, path: Path) -> None:
        session = botocore.session.get_session()
        for action in allowed(path.stem) - NO_OPERATION:
            service, _, name = action.partition(":")
            models = [session.get_service_model(model) for model in MODELS.get(service, (service,))]
            assert any(name in model.operation_names for model in models), f"{action} is no operation"

    def test_has_only_statements_that_allow(self, path: Path) -> None:
        document = policy(path.stem)
        assert document["Version"] == "2012-10-17"
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow"
            assert "NotAction" not in statement
            assert "NotResource" not in statement

    def test_reaches_everything_only_where_the_region_or_a_tag_limits_it(self, path: Path) -> None:
        for statement in statements(policy(path.stem)):
            if "*" in statement.get("Resource", []):
                assert "aws:RequestedRegion" in json.dumps(statement["Condition"]), statement["Sid"]

    def test_has_only_placeholders_that_the_page_fills_in(self, path: Path) -> None:
        found = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", re.sub(r'"Sid": "\w+"', "", path.read_text())))
        page = (PROJECT / "docs" / "deploy.md").read_text()
        for placeholder in found:
            assert f"s#{placeholder}#" in page, placeholder

    def test_fits_into_a_role(self, path: Path) -> None:
        # All inline policies of a role together, white space aside.
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
        assert len(re.sub(r"\s", "", path.read_text())) <= 10_240


class TestDeploy:
    def test_allows_what_the_resources_need_and_nothing_else(self, recordings: list[Recording]) -> None:
        types = {
            resource.typ.removeprefix("aws:")
            for recording in recordings
            for resource in recording.resources
            if resource.custom and resource.typ.startswith("aws:")
        }
        assert types == set(NEEDS), "say in NEEDS what the new type needs, and put it into docs/policies/deploy.json"
        assert allowed("deploy") == STATE.union(*NEEDS.values())

    @pytest.mark.parametrize(("typ", "key", "action", "arn"), BY_NAME)
    def test_reaches_every_resource_by_its_name(
        self, recordings: list[Recording], typ: str, key: str, action: str, arn: str
    ) -> None:
        patterns = [
            resource
            for statement in statements(policy("deploy"))
            if action in statement["Action"]
            for resource in statement["Resource"]
        ]
        names = {item.inputs[key] for recording in recordings for item in recording.of(f"aws:{typ}")}
        assert names
        for name in names:
            wanted = f"arn:aws:{arn.format(name)}".replace("REGION", "ap-northeast-1")
            assert any(fnmatch.fnmatchcase(wanted, pattern) for pattern in patterns), wanted

    def test_cannot_change_the_roles_of_the_workflows(self) -> None:
        page = (PROJECT / "docs" / "deploy.md").read_text()
        roles = set(re.findall(r"--role-name ([\w-]+)", page))
        assert roles == {"github-ev-population-preview", "github-ev-population-deploy"}
        assert not [name for name in roles if fnmatch.fnmatchcase(name, "ev-population-*")]

    def test_hands_roles_to_the_services_that_assume_them_and_attaches_the_managed_policies_in_use(
        self, recordings: list[Recording]
    ) -> None:
        (passing,) = (item for item in statements(policy("deploy")) if item["Action"] == ["iam:PassRole"])
        assuming = {
            statement["Principal"]["Service"]
            for recording in recordings
            for role in recording.of("aws:iam/role:Role")
            for statement in statements(role.document("assumeRolePolicy"))
        }
        assert set(passing["Condition"]["StringEquals"]["iam:PassedToService"]) == assuming
        (attaching,) = (item for item in statements(policy("deploy")) if "iam:AttachRolePolicy" in item["Action"])
        attached = {
            item.inputs["policyArn"]
            for recording in recordings
            for item in recording.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        }
        assert set(attaching["Condition"]["ArnEquals"]["iam:PolicyARN"]) == attached


class TestPreview:
    def test_can_change_nothing(self) -> None:
        for action in allowed("preview") | allowed("drift"):
            assert re.match(r"\w+:(Get|List|Decrypt$|Validate)", action), action


@pytest.mark.parametrize("name", ["deploy", "preview", "drift"])
def test_a_key_is_named_by_its_arn_as_iam_matches_no_alias(name: str) -> None:
    for statement in statements(policy(name)):
        uses = {action for action in statement["Action"] if action.startswith("kms:")}
        if uses and not uses & actions("kms", "CreateAlias CreateKey"):
            for resource in statement["Resource"]:
                assert resource in {"STATE_KEY", "KEY_DEV", "KEY_PROD"} or resource.endswith(":key/*"), resource


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("deploy-trust", ["SUBJECT:environment:dev", "SUBJECT:environment:prod"]),
        ("preview-trust", ["SUBJECT:pull_request", "SUBJECT:ref:refs/heads/main"]),
    ],
)
def test_a_role_trusts_this_repository_and_names_each_subject_whole(name: str, subjects: list[str]) -> None:
    (statement,) = policy(name)["Statement"]
    assert statement["Principal"] == {
        "Federated": "arn:aws:iam::ACCOUNT:oidc-provider/token.actions.githubusercontent.com"
    }
    assert statement["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": subjects,
        }
    }


def test_the_account_of_the_examples_is_nobodys() -> None:
    assert ACCOUNT not in "".join(path.read_text() for path in POLICIES), "ACCOUNT stands for the reader's own"
