"""Which AWS API operation takes which Pulumi input, and the documented rules that no API model contains."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


class Model(NamedTuple):
    """The operation that takes a resource's inputs, and where those go whose parameter has another name.

    A place that starts with another operation's name belongs to that one. See `tests.aws_shapes.Document`.
    """

    operation: str
    names: Mapping[str, str] = {}


_RULE = {
    "securityGroupId": "GroupId",
    "cidrIpv4": "IpPermissions[].IpRanges[].CidrIp",
    "description": "IpPermissions[].IpRanges[].Description",
    "fromPort": "IpPermissions[].FromPort",
    "toPort": "IpPermissions[].ToPort",
    "ipProtocol": "IpPermissions[].IpProtocol",
    "prefixListId": "IpPermissions[].PrefixListIds[].PrefixListId",
    "referencedSecurityGroupId": "IpPermissions[].UserIdGroupPairs[].GroupId",
}

MODELS: Final[Mapping[str, Model]] = {
    "aws:cloudwatch/dashboard:Dashboard": Model("cloudwatch:PutDashboard"),
    "aws:cloudwatch/eventRule:EventRule": Model("events:PutRule"),
    "aws:cloudwatch/eventTarget:EventTarget": Model(
        "events:PutTargets",
        {
            "arn": "Targets[].Arn",
            "inputTransformer": "Targets[].InputTransformer",
            "inputTransformer.inputPaths": "InputPathsMap",
        },
    ),
    "aws:cloudwatch/logGroup:LogGroup": Model(
        "logs:CreateLogGroup", {"name": "logGroupName", "retentionInDays": "logs:PutRetentionPolicy retentionInDays"}
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Model(
        "cloudwatch:PutMetricAlarm",
        {
            "name": "AlarmName",
            "metricQueries": "Metrics",
            "metricQueries.metric": "MetricStat",
            "metricQueries.metric.metricName": "Metric.MetricName",
            "metricQueries.metric.namespace": "Metric.Namespace",
            "metricQueries.metric.dimensions": "Metric.Dimensions",
        },
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Model(
        "ec2:RevokeSecurityGroupIngress",
        {"ingress": "IpPermissions", "egress": "ec2:RevokeSecurityGroupEgress IpPermissions"},
    ),
    "aws:ec2/eip:Eip": Model("ec2:AllocateAddress"),
    "aws:ec2/flowLog:FlowLog": Model(
        "ec2:CreateFlowLogs", {"iamRoleArn": "DeliverLogsPermissionArn", "vpcId": "ResourceIds"}
    ),
    "aws:ec2/instance:Instance": Model(
        "ec2:RunInstances",
        {
            "ami": "ImageId",
            "associatePublicIpAddress": "NetworkInterfaces[].AssociatePublicIpAddress",
            "iamInstanceProfile": "IamInstanceProfile.Name",
            "rootBlockDevice": "BlockDeviceMappings[].Ebs",
            "sourceDestCheck": "ec2:ModifyInstanceAttribute SourceDestCheck.Value",
            "vpcSecurityGroupIds": "SecurityGroupIds",
        },
    ),
    "aws:ec2/internetGateway:InternetGateway": Model("ec2:AttachInternetGateway"),
    "aws:ec2/natGateway:NatGateway": Model("ec2:CreateNatGateway"),
    "aws:ec2/route:Route": Model("ec2:CreateRoute"),
    "aws:ec2/routeTable:RouteTable": Model("ec2:CreateRouteTable"),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Model("ec2:AssociateRouteTable"),
    "aws:ec2/securityGroup:SecurityGroup": Model("ec2:CreateSecurityGroup", {"name": "GroupName"}),
    "aws:ec2/subnet:Subnet": Model(
        "ec2:CreateSubnet", {"mapPublicIpOnLaunch": "ec2:ModifySubnetAttribute MapPublicIpOnLaunch.Value"}
    ),
    "aws:ec2/vpc:Vpc": Model(
        "ec2:CreateVpc",
        {
            "enableDnsHostnames": "ec2:ModifyVpcAttribute EnableDnsHostnames.Value",
            "enableDnsSupport": "ec2:ModifyVpcAttribute EnableDnsSupport.Value",
        },
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Model("ec2:CreateVpcEndpoint", {"policy": "PolicyDocument"}),
    "aws:iam/instanceProfile:InstanceProfile": Model(
        "iam:CreateInstanceProfile", {"name": "InstanceProfileName", "role": "iam:AddRoleToInstanceProfile RoleName"}
    ),
    "aws:iam/role:Role": Model("iam:CreateRole", {"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"}),
    "aws:iam/rolePolicy:RolePolicy": Model(
        "iam:PutRolePolicy", {"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"}
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Model("iam:AttachRolePolicy", {"role": "RoleName"}),
    "aws:kms/alias:Alias": Model("kms:CreateAlias", {"name": "AliasName"}),
    "aws:kms/key:Key": Model("kms:CreateKey", {"deletionWindowInDays": "kms:ScheduleKeyDeletion PendingWindowInDays"}),
    "aws:lambda/function:Function": Model(
        "lambda:CreateFunction",
        {
            "name": "FunctionName",
            "replacementSecurityGroupIds": "lambda:UpdateFunctionConfiguration VpcConfig.SecurityGroupIds",
        },
    ),
    "aws:lambda/layerVersion:LayerVersion": Model("lambda:PublishLayerVersion"),
    "aws:rds/instance:Instance": Model(
        "rds:CreateDBInstance",
        {
            "allowMajorVersionUpgrade": "rds:ModifyDBInstance AllowMajorVersionUpgrade",
            "applyImmediately": "rds:ModifyDBInstance ApplyImmediately",
            "backupWindow": "PreferredBackupWindow",
            "caCertIdentifier": "CACertificateIdentifier",
            "deleteAutomatedBackups": "rds:DeleteDBInstance DeleteAutomatedBackups",
            "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "finalSnapshotIdentifier": "rds:DeleteDBInstance FinalDBSnapshotIdentifier",
            "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
            "identifier": "DBInstanceIdentifier",
            "instanceClass": "DBInstanceClass",
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "parameterGroupName": "DBParameterGroupName",
            "performanceInsightsEnabled": "EnablePerformanceInsights",
            "skipFinalSnapshot": "rds:DeleteDBInstance SkipFinalSnapshot",
            "username": "MasterUsername",
        },
    ),
    "aws:rds/parameterGroup:ParameterGroup": Model(
        "rds:CreateDBParameterGroup",
        {
            "name": "DBParameterGroupName",
            "family": "DBParameterGroupFamily",
            "parameters": "rds:ModifyDBParameterGroup Parameters",
            "parameters.name": "ParameterName",
            "parameters.value": "ParameterValue",
        },
    ),
    "aws:rds/subnetGroup:SubnetGroup": Model(
        "rds:CreateDBSubnetGroup", {"name": "DBSubnetGroupName", "description": "DBSubnetGroupDescription"}
    ),
    "aws:s3/bucket:Bucket": Model("s3:CreateBucket"),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": Model(
        "s3:PutBucketLifecycleConfiguration", {"rules": "LifecycleConfiguration.Rules"}
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": Model(
        "s3:PutBucketOwnershipControls", {"rule": "OwnershipControls.Rules"}
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Model("s3:PutBucketPolicy"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Model(
        "s3:PutPublicAccessBlock",
        {
            name: f"PublicAccessBlockConfiguration.{name}"
            for name in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Model(
        "s3:PutBucketEncryption", {"rules": "ServerSideEncryptionConfiguration.Rules"}
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Model("s3:PutBucketVersioning"),
    "aws:scheduler/schedule:Schedule": Model("scheduler:CreateSchedule"),
    "aws:secretsmanager/secret:Secret": Model(
        "secretsmanager:CreateSecret",
        {"recoveryWindowInDays": "secretsmanager:DeleteSecret RecoveryWindowInDays"},
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": Model("secretsmanager:PutSecretValue"),
    "aws:sfn/stateMachine:StateMachine": Model(
        "stepfunctions:CreateStateMachine",
        {"loggingConfiguration.logDestination": "destinations[].cloudWatchLogsLogGroup.logGroupArn"},
    ),
    "aws:sns/topic:Topic": Model("sns:CreateTopic"),
    "aws:sns/topicPolicy:TopicPolicy": Model("sns:SetTopicAttributes", {"arn": "TopicArn", "policy": "AttributeValue"}),
    "aws:sns/topicSubscription:TopicSubscription": Model("sns:Subscribe", {"topic": "TopicArn"}),
    "aws:sqs/queue:Queue": Model("sqs:CreateQueue", {"name": "QueueName"}),
    "aws:sqs/queuePolicy:QueuePolicy": Model("sqs:SetQueueAttributes"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": Model("ec2:AuthorizeSecurityGroupEgress", _RULE),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Model("ec2:AuthorizeSecurityGroupIngress", _RULE),
}

# The input that Pulumi fills with the resource's name, a hyphen and seven hexadecimal digits.
# https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming
AUTONAMED: Final[Mapping[str, str]] = {
    "aws:ec2/securityGroup:SecurityGroup": "name",
    "aws:rds/parameterGroup:ParameterGroup": "name",
    "aws:rds/subnetGroup:SubnetGroup": "name",
    "aws:s3/bucket:Bucket": "bucket",
    "aws:secretsmanager/secret:Secret": "name",
}

# How ids begin that EC2 gives, by the end of the input that holds one.
IDS: Final[Mapping[str, str]] = {
    "vpcid": "vpc",
    "subnetid": "subnet",
    "groupid": "sg",
    "routetableid": "rtb",
    "natgatewayid": "nat",
    "gatewayid": "igw",
    "allocationid": "eipalloc",
    "networkinterfaceid": "eni",
}

# (type, input) that neither a model nor a documented rule covers -> why nothing is lost.
UNCOVERED: Final[Mapping[tuple[str, str], str]] = {
    ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "vpcId"): "finds the group, which exists already",
    ("aws:ec2/instance:Instance", "userDataReplaceOnChange"): "only the provider reads it",
    ("aws:kms/key:Key", "enableKeyRotation"): "kms:EnableKeyRotation takes no value",
    ("aws:lambda/function:Function", "code"): "an archive; tests/test_packaging.py checks what is built",
    ("aws:lambda/function:Function", "replaceSecurityGroupsOnDestroy"): "only the provider reads it",
    ("aws:lambda/layerVersion:LayerVersion", "code"): "an archive; tests/test_packaging.py checks what is built",
    ("aws:s3/bucket:Bucket", "forceDestroy"): "only the provider reads it",
    ("aws:sns/topic:Topic", "kmsMasterKeyId"): "an attribute without a model; the ARN of the stack's own key",
    ("aws:sqs/queue:Queue", "sqsManagedSseEnabled"): "an attribute without a model; true or false",
    ("aws:sqs/queuePolicy:QueuePolicy", "policy"): "an attribute without a model; `make test-all` checks policies",
    ("pulumi:providers:aws", "region"): "the provider's own; every ARN and zone is of it",
    ("pulumi:providers:aws", "skipCredentialsValidation"): "the provider's own, a default of its SDK",
    ("pulumi:providers:aws", "skipRegionValidation"): "the provider's own, a default of its SDK",
}


class Documented(NamedTuple):
    """A rule that AWS documents and no model contains. `types` and `input` are regular expressions for whole names."""

    types: str
    input: str
    holds: Callable[[Any], bool]
    rule: str
    source: str


def _all_of(pattern: str) -> Callable[[Any], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


def _no_longer_than(limit: int) -> Callable[[Any], bool]:
    return lambda value: len(value) <= limit


def _tags(value: Any) -> bool:
    return len(value) <= 50 and all(
        re.fullmatch(r"(?!aws:)[\w\s.:/=+\-@]{1,128}", key, re.IGNORECASE)
        and re.fullmatch(r"[\w\s.:/=+\-@]{0,256}", text)
        for key, text in value.items()
    )


_EC2 = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference"
_RDS = "https://docs.aws.amazon.com/AmazonRDS/latest/APIReference"
_GROUP_TEXT = r"[0-9A-Za-z. _\-:/()#,@\[\]+=&;{}!$*]{1,255}"
_QUOTAS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"

DOCUMENTED: Final = (
    Documented(
        r"aws:(ec2|vpc)/securityGroup.*",
        "description",
        _all_of(_GROUP_TEXT),
        "1 to 255 of a-z, A-Z, 0-9, space and ._-:/()#,@[]+=&;{}!$*",
        f"{_EC2}/API_CreateSecurityGroup.html and API_IpRange.html",
    ),
    Documented(
        "aws:ec2/securityGroup:SecurityGroup",
        "name",
        _all_of(f"(?!sg-){_GROUP_TEXT}"),
        "as a description, and not starting with sg-",
        f"{_EC2}/API_CreateSecurityGroup.html",
    ),
    Documented(
        "aws:ec2/instance:Instance",
        "userData",
        lambda value: len(value.encode()) <= 16 << 10,
        "16 KB at most",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html",
    ),
    Documented(
        "aws:rds/instance:Instance",
        "identifier|finalSnapshotIdentifier",
        _all_of(r"(?!.*--)[A-Za-z][0-9A-Za-z-]{0,62}(?<!-)"),
        "1 to 63 letters, digits and hyphens, first a letter, no two hyphens in a row, none at the end",
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Documented(
        "aws:rds/instance:Instance",
        "username|dbName",
        _all_of(r"(?i)(?!(rdsadmin|postgres|template[01]|rds_.*|pg_.*)$)[a-z][a-z0-9_]{0,62}"),
        "1 to 63 letters, digits and underscores, first a letter, no reserved word",
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Documented(
        "aws:rds/instance:Instance",
        "backupWindow",
        _all_of(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d"),
        "hh24:mi-hh24:mi",
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Documented(
        "aws:rds/instance:Instance",
        "maintenanceWindow",
        _all_of(r"(?i)((mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d(-(?=.)|$)){2}"),
        "ddd:hh24:mi-ddd:hh24:mi",
        f"{_RDS}/API_CreateDBInstance.html",
    ),
    Documented(
        "aws:rds/parameterGroup:ParameterGroup",
        "name",
        _all_of(r"(?!.*--)[A-Za-z][0-9A-Za-z-]{0,254}(?<!-)"),
        "1 to 255 letters, digits and hyphens, first a letter, no two hyphens in a row, none at the end",
        f"{_RDS}/API_CreateDBParameterGroup.html",
    ),
    Documented(
        "aws:rds/subnetGroup:SubnetGroup",
        "name",
        _all_of(r"(?!default$)[A-Za-z][0-9A-Za-z. _-]{0,254}"),
        "1 to 255 letters, digits, periods, underscores, spaces and hyphens, first a letter, not default",
        f"{_RDS}/API_CreateDBSubnetGroup.html",
    ),
    Documented(
        "aws:s3/bucket:Bucket",
        "bucket",
        _all_of(r"(?!xn--|sthree-|amzn-s3-demo-)(?!.*(\.\.|-s3alias$|--ol-s3$))[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "3 to 63 lower-case letters, digits, periods and hyphens, first and last a letter or digit",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html",
    ),
    Documented(
        "aws:secretsmanager/secret:Secret",
        "name",
        _all_of(r"[0-9A-Za-z/_+=.@-]{1,512}"),
        "1 to 512 of a-z, A-Z, 0-9 and /_+=.@-",
        "https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html",
    ),
    Documented(
        "aws:sns/topic:Topic",
        "name",
        _all_of(r"[0-9A-Za-z_-]{1,256}"),
        "1 to 256 letters, digits, underscores and hyphens",
        "https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html",
    ),
    Documented(
        "aws:sns/topic:Topic",
        "displayName",
        _no_longer_than(100),
        "100 characters at most",
        "https://docs.aws.amazon.com/sns/latest/dg/sns-create-topic.html",
    ),
    Documented(
        "aws:sqs/queue:Queue",
        "name",
        _all_of(r"[0-9A-Za-z_-]{1,80}"),
        "1 to 80 letters, digits, hyphens and underscores",
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html",
    ),
    Documented(
        "aws:sqs/queue:Queue",
        "messageRetentionSeconds",
        lambda value: 60 <= value <= 1_209_600,
        "60 to 1,209,600 seconds",
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html",
    ),
    Documented(
        ".*",
        "tags|defaultTags.tags",
        _tags,
        "50 tags at most; keys of 1 to 128 and values of up to 256 letters, digits, spaces and _.:/=+-@",
        "https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html",
    ),
    Documented(
        "aws:iam/role:Role",
        "assumeRolePolicy",
        lambda value: len(re.sub(r"\s", "", value)) <= 2048,
        "2,048 characters at most, spaces not counted",
        _QUOTAS,
    ),
    Documented(
        "aws:iam/rolePolicy:RolePolicy",
        "policy",
        lambda value: len(re.sub(r"\s", "", value)) <= 10_240,
        "10,240 characters at most, spaces not counted",
        _QUOTAS,
    ),
    Documented(
        "aws:s3/bucketPolicy:BucketPolicy",
        "policy",
        _no_longer_than(20 << 10),
        "20 KB at most",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html",
    ),
    Documented(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "policy",
        _no_longer_than(20_480),
        "20,480 characters at most",
        "https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-limits-endpoints.html",
    ),
)
