"""The stack as a CloudFormation template, which is what cfn-lint reads. Nothing is ever deployed from it."""

import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from cfnlint.api import lint
from cfnlint.config import ManualArgs
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from tests.aws_models import inputs_as_sent
from tests.aws_shapes import Document
from tests.pulumi_mocks import REGION, Resource


class Type(NamedTuple):
    """A CloudFormation type and where inputs go that are called otherwise; `more` is what only CloudFormation wants."""

    name: str
    names: Mapping[str, str] = {}
    more: Mapping[str, Any] = {}


class Part(NamedTuple):
    """A resource that in CloudFormation is some properties of another, which this one names in its input `by`.

    `more` is what only CloudFormation wants, by its place.
    """

    of: str
    by: str
    names: Mapping[str, str]
    more: Mapping[str, Any] = {}


_CODE: Final = {"S3Bucket": "some-bucket", "S3Key": "some.zip"}
_RULE: Final = {"securityGroupId": "GroupId", "cidrIpv4": "CidrIp"}
_BUCKET: Final = "aws:s3/bucket:Bucket"

TYPES: Final[Mapping[str, Type]] = {
    "aws:cloudwatch/dashboard:Dashboard": Type("AWS::CloudWatch::Dashboard"),
    "aws:cloudwatch/eventRule:EventRule": Type("AWS::Events::Rule"),
    "aws:cloudwatch/logGroup:LogGroup": Type("AWS::Logs::LogGroup", {"name": "LogGroupName"}),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Type(
        "AWS::CloudWatch::Alarm",
        {
            "name": "AlarmName",
            "metricQueries": "Metrics",
            "metricQueries.metric": "MetricStat",
            "metricQueries.metric.metricName": "Metric.MetricName",
            "metricQueries.metric.namespace": "Metric.Namespace",
            "metricQueries.metric.dimensions": "Metric.Dimensions",
        },
    ),
    "aws:ec2/eip:Eip": Type("AWS::EC2::EIP"),
    "aws:ec2/flowLog:FlowLog": Type(
        "AWS::EC2::FlowLog",
        {"iamRoleArn": "DeliverLogsPermissionArn", "vpcId": "ResourceId"},
        {"ResourceType": "VPC"},
    ),
    "aws:ec2/instance:Instance": Type(
        "AWS::EC2::Instance",
        {
            "ami": "ImageId",
            "creditSpecification.cpuCredits": "CPUCredits",
            "rootBlockDevice": "BlockDeviceMappings[].Ebs",
            "vpcSecurityGroupIds": "SecurityGroupIds",
        },
        {"BlockDeviceMappings[].DeviceName": "/dev/xvda"},
    ),
    "aws:ec2/internetGateway:InternetGateway": Type("AWS::EC2::InternetGateway"),
    "aws:ec2/natGateway:NatGateway": Type("AWS::EC2::NatGateway"),
    "aws:ec2/route:Route": Type("AWS::EC2::Route"),
    "aws:ec2/routeTable:RouteTable": Type("AWS::EC2::RouteTable"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Type("AWS::EC2::SubnetRouteTableAssociation"),
    "aws:ec2/securityGroup:SecurityGroup": Type(
        "AWS::EC2::SecurityGroup", {"name": "GroupName", "description": "GroupDescription"}
    ),
    "aws:ec2/subnet:Subnet": Type("AWS::EC2::Subnet"),
    "aws:ec2/vpc:Vpc": Type("AWS::EC2::VPC"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Type("AWS::EC2::VPCEndpoint", {"policy": "PolicyDocument"}),
    "aws:iam/instanceProfile:InstanceProfile": Type(
        "AWS::IAM::InstanceProfile", {"name": "InstanceProfileName", "role": "Roles"}
    ),
    "aws:iam/role:Role": Type("AWS::IAM::Role", {"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}),
    "aws:iam/rolePolicy:RolePolicy": Type(
        "AWS::IAM::RolePolicy", {"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"}
    ),
    "aws:kms/alias:Alias": Type("AWS::KMS::Alias", {"name": "AliasName"}),
    "aws:kms/key:Key": Type("AWS::KMS::Key", {"policy": "KeyPolicy", "deletionWindowInDays": "PendingWindowInDays"}),
    "aws:lambda/function:Function": Type("AWS::Lambda::Function", {"name": "FunctionName"}, {"Code": _CODE}),
    "aws:lambda/layerVersion:LayerVersion": Type("AWS::Lambda::LayerVersion", {}, {"Content": _CODE}),
    "aws:rds/instance:Instance": Type(
        "AWS::RDS::DBInstance",
        {
            "backupWindow": "PreferredBackupWindow",
            "caCertIdentifier": "CACertificateIdentifier",
            "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
            "identifier": "DBInstanceIdentifier",
            "instanceClass": "DBInstanceClass",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "masterUserSecretKmsKeyId": "MasterUserSecret.KmsKeyId",
            "parameterGroupName": "DBParameterGroupName",
            "performanceInsightsEnabled": "EnablePerformanceInsights",
            "username": "MasterUsername",
            "vpcSecurityGroupIds": "VPCSecurityGroups",
        },
    ),
    "aws:rds/parameterGroup:ParameterGroup": Type("AWS::RDS::DBParameterGroup", {"name": "DBParameterGroupName"}),
    "aws:rds/subnetGroup:SubnetGroup": Type(
        "AWS::RDS::DBSubnetGroup", {"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"}
    ),
    _BUCKET: Type("AWS::S3::Bucket", {"bucket": "BucketName"}),
    "aws:s3/bucketPolicy:BucketPolicy": Type("AWS::S3::BucketPolicy", {"policy": "PolicyDocument"}),
    "aws:scheduler/schedule:Schedule": Type("AWS::Scheduler::Schedule"),
    "aws:secretsmanager/secret:Secret": Type("AWS::SecretsManager::Secret"),
    "aws:sfn/stateMachine:StateMachine": Type(
        "AWS::StepFunctions::StateMachine",
        {
            "name": "StateMachineName",
            "type": "StateMachineType",
            "loggingConfiguration.logDestination": "Destinations[].CloudWatchLogsLogGroup.LogGroupArn",
        },
    ),
    "aws:sns/topic:Topic": Type("AWS::SNS::Topic", {"name": "TopicName"}),
    "aws:sns/topicPolicy:TopicPolicy": Type("AWS::SNS::TopicPolicy", {"arn": "Topics", "policy": "PolicyDocument"}),
    "aws:sns/topicSubscription:TopicSubscription": Type("AWS::SNS::Subscription", {"topic": "TopicArn"}),
    "aws:sqs/queue:Queue": Type(
        "AWS::SQS::Queue", {"name": "QueueName", "messageRetentionSeconds": "MessageRetentionPeriod"}
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Type(
        "AWS::SQS::QueuePolicy", {"queueUrl": "Queues", "policy": "PolicyDocument"}
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Type(
        "AWS::EC2::SecurityGroupEgress",
        _RULE | {"prefixListId": "DestinationPrefixListId", "referencedSecurityGroupId": "DestinationSecurityGroupId"},
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Type(
        "AWS::EC2::SecurityGroupIngress",
        _RULE | {"prefixListId": "SourcePrefixListId", "referencedSecurityGroupId": "SourceSecurityGroupId"},
    ),
}

PARTS: Final[Mapping[str, Part]] = {
    "aws:cloudwatch/eventTarget:EventTarget": Part(
        "aws:cloudwatch/eventRule:EventRule",
        "rule",
        {
            "arn": "Targets[].Arn",
            "inputTransformer": "Targets[].InputTransformer",
            "inputTransformer.inputPaths": "InputPathsMap",
        },
        {"Targets[].Id": "made-by-the-provider"},
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Part(
        "aws:iam/role:Role", "role", {"policyArn": "ManagedPolicyArns"}
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Part(
        _BUCKET,
        "bucket",
        {
            "rules": "LifecycleConfiguration.Rules",
            "rules.filter": ".",
            "rules.expiration": ".",
            "rules.expiration.days": "ExpirationInDays",
            "rules.expiration.expiredObjectDeleteMarker": "ExpiredObjectDeleteMarker",
        },
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": Part(
        _BUCKET, "bucket", {"rule": "OwnershipControls.Rules"}
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Part(
        _BUCKET,
        "bucket",
        {
            name: f"PublicAccessBlockConfiguration.{name}"
            for name in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Part(
        _BUCKET,
        "bucket",
        {
            "rules": "BucketEncryption.ServerSideEncryptionConfiguration",
            "rules.applyServerSideEncryptionByDefault": "ServerSideEncryptionByDefault",
            "rules.applyServerSideEncryptionByDefault.kmsMasterKeyId": "KMSMasterKeyID",
        },
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Part(_BUCKET, "bucket", {}),
    "aws:secretsmanager/secretVersion:SecretVersion": Part("aws:secretsmanager/secret:Secret", "secretId", {}),
}


class Finding(NamedTuple):
    """What cfn-lint says: the rule, the resource's type and name, the property and the message."""

    rule: str
    resource: str
    property: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule} {self.resource}: {self.property}\n    {self.message[:300]}"


class Template:
    """The resources as a template; `unplaced` are (type, input) for which CloudFormation has no place."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        self.unplaced: set[tuple[str, str]] = set()
        self._names: dict[str, str] = {}
        custom = [resource for resource in resources if resource.custom]
        self._vpc = next((_logical(found) for found in custom if found.typ == "aws:ec2/vpc:Vpc"), "")
        for resource in custom:
            if found := TYPES.get(resource.typ):
                self._add(resource, found)
            elif resource.typ not in PARTS:
                self.unplaced.add((resource.typ, "*"))
        for resource in custom:
            if part := PARTS.get(resource.typ):
                self._add_part(resource, part, custom)

    def findings(self) -> list[Finding]:
        """Return everything that cfn-lint says about the template in the stack's region."""
        template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": self.resources}
        config = ManualArgs(regions=[REGION], include_checks=["I3510"])
        return [self._finding(match) for match in lint(json.dumps(template), config=config)]

    def _finding(self, match: Any) -> Finding:
        path = [str(step) for step in getattr(match, "path", None) or []]
        name = self._names.get(path[1], path[1]) if len(path) > 1 else "template"
        return Finding(match.rule.id, name, ".".join(path[3:]), match.message)

    def _add(self, resource: Resource, found: Type) -> None:
        logical = _logical(resource)
        document = _Properties(_shape(found.name), found.names)
        self._fill(document, resource, found.more)
        self._put(logical, resource, found.name, document.content)
        expression = str(resource.inputs.get("scheduleExpression", ""))
        if expression.startswith("cron("):  # cfn-lint knows cron in rules, not in schedules
            self._put(f"{logical}Cron", resource, "AWS::Events::Rule", {"ScheduleExpression": expression})

    def _add_part(self, resource: Resource, part: Part, custom: list[Resource]) -> None:
        wanted = resource.inputs[part.by]
        whole = next(
            found
            for found in custom
            if found.typ == part.of and wanted in (f"{found.name}-id", found.inputs.get("name"))
        )
        content = self.resources[_logical(whole)]["Properties"]
        document = _Properties(_shape(TYPES[part.of].name), part.names, content)
        self._fill(document, resource, part.more, but=part.by)

    def _put(self, logical: str, resource: Resource, typ: str, properties: dict[str, Any]) -> None:
        self._names[logical] = f"{resource.typ} {resource.name}"
        self.resources[logical] = {"Type": typ, "Properties": properties}

    def _fill(self, document: Document, resource: Resource, more: Mapping[str, Any], *, but: str = "") -> None:
        for name, value in inputs_as_sent(resource).items():
            if name not in (but, "code"):  # the archive, for which a made-up place in S3 stands
                # A reference, so that cfn-lint compares the subnets' ranges with the VPC's.
                document.add(name, {"Ref": self._vpc} if name == "vpcId" else value)
        for place, value in more.items():
            document.add(place, value, place=place)
        self.unplaced.update((resource.typ, name) for name in document.unplaced)


class _Properties(Document):
    def scalar(self, value: Any, shape: Any) -> Any:
        value = super().scalar(value, shape)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if is_number and shape.type_name == "string" else value


class _Shape:
    """A JSON schema as `Document` reads it."""

    def __init__(self, schema: Mapping[str, Any], root: Mapping[str, Any]) -> None:
        self._schema, self._root = _resolved(schema, root), root
        kinds = self._schema.get("type", [])
        if "properties" in self._schema:
            self.type_name = "structure"
        elif "items" in self._schema:
            self.type_name = "list"
        elif "object" in kinds:
            self.type_name = "map"
        else:
            self.type_name = kinds if isinstance(kinds, str) else ""

    @property
    def members(self) -> dict[str, "_Shape"]:
        return {key: _Shape(schema, self._root) for key, schema in self._schema.get("properties", {}).items()}

    @property
    def member(self) -> "_Shape":
        return _Shape(self._schema["items"], self._root)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        way = schema["$ref"].removeprefix("#/").split("/")
        return _resolved(functools.reduce(lambda node, step: node[step], way, root), root)
    if not {"type", "properties", "items"} & set(schema):
        for choice in ("oneOf", "anyOf", "allOf"):
            if choice in schema:
                return _resolved(schema[choice][0], root)
    return schema


@functools.cache
def _shape(typ: str) -> _Shape:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, typ).schema
    return _Shape(schema, schema)


def _logical(resource: Resource) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", f"{resource.typ.rpartition(':')[2]}{resource.name}")
