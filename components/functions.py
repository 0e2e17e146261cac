"""The three Lambda functions, each with its own role, log group and exactly what it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components import iam, naming
from components.naming import Scope
from components.packaging import Packages
from components.settings import Settings
from components.storage import PUBLISHED_KEY, RAW_PREFIX, REPORT_PREFIX

RUNTIME: Final = "python3.12"
# In the handlers' archive, so beside the code. RDS signs with it; libpq reads PGSSL* by itself.
CERTIFICATE_BUNDLE: Final = "/var/task/rds-global-bundle.pem"
NETWORK_INTERFACE_ACTIONS: Final = (
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
)
SECRET_RECOVERY_DAYS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a function is given. CPU goes with memory: 1769 MB are one processor."""

    timeout_seconds: int
    memory_mb: int


# extract streams parts and holds none, but a slow source takes minutes, so it has the longest that Lambda gives;
# stage holds one part in pandas (part_rows at most 100,000) and takes seconds;
# publish runs one transaction: the work is the database's, the waiting is its own.
SIZES: Final = {
    "extract": Size(timeout_seconds=900, memory_mb=512),
    "stage": Size(timeout_seconds=300, memory_mb=1024),
    "publish": Size(timeout_seconds=900, memory_mb=1024),
}
HANDLERS: Final = {"extract": "extract.handler", "stage": "load.stage", "publish": "load.publish"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the VPC a function runs."""

    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    # Takes the function's security group's place while the function is deleted: see `_function`.
    parking_security_group_id: pulumi.Input[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionsArgs:
    """What the functions depend on; `extract_place` is None outside the VPC."""

    scope: Scope
    settings: Settings
    packages: Packages
    key_arn: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]
    secret_arn: pulumi.Input[str]
    credentials_arn: pulumi.Input[str]
    load_place: Place
    extract_place: Place | None


class Functions(pulumi.ComponentResource):
    """extract, stage and publish: the handlers' archive with one layer each."""

    arns: dict[str, pulumi.Output[str]]
    names: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: FunctionsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the layers, the app token's secret if there is a token, and the functions."""
        super().__init__("ev-population:index:Functions", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._code = pulumi.FileArchive(str(args.packages.handlers))
        self.arns, self.names = {}, {}
        settings = args.settings

        extract_layer = self._layer("extract", pulumi.FileArchive(str(args.packages.extract_layer)))
        load_layer = self._layer("load", pulumi.FileArchive(str(args.packages.load_layer)))
        token_arn = self._app_token()

        raw = pulumi.Output.concat(args.bucket_arn, "/", RAW_PREFIX, "*")
        manifests = pulumi.Output.concat(args.bucket_arn, "/", RAW_PREFIX, "*/manifest.json")
        published = pulumi.Output.concat(args.bucket_arn, "/", PUBLISHED_KEY)
        reports = pulumi.Output.concat(args.bucket_arn, "/", REPORT_PREFIX, "*")
        # Without it a missing key is answered 403, as if it were forbidden, and not 404.
        missing_is_404 = iam.Statement(sid="MissingIs404", actions=["s3:ListBucket"], resources=[args.bucket_arn])
        read_secrets = iam.Statement(
            sid="ReachTheDatabase",
            actions=["secretsmanager:GetSecretValue"],
            resources=[args.secret_arn, args.credentials_arn],
        )
        verify_tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": CERTIFICATE_BUNDLE}

        self._function(
            "extract",
            layer=extract_layer,
            place=args.extract_place,
            environment={
                "SOURCE_URL": settings.source_url,
                "DATASET_ID": settings.dataset_id,
                "PART_ROWS": str(settings.part_rows),
                "MAX_SOURCE_AGE_DAYS": str(settings.max_source_age_days),
                **({"APP_TOKEN_SECRET_ARN": token_arn} if token_arn else {}),
            },
            statements=[
                iam.Statement(sid="RawData", actions=["s3:GetObject", "s3:PutObject"], resources=[raw]),
                iam.Statement(sid="WhatIsPublished", actions=["s3:GetObject"], resources=[published]),
                missing_is_404,
                iam.key_use(args.scope, args.key_arn, via=["s3"], write=True),
                *self._read_app_token(token_arn),
            ],
        )
        self._function(
            "stage",
            layer=load_layer,
            place=args.load_place,
            environment=verify_tls,
            statements=[
                iam.Statement(sid="RawData", actions=["s3:GetObject"], resources=[raw]),
                missing_is_404,
                read_secrets,
                iam.key_use(args.scope, args.key_arn, via=["s3", "secretsmanager"]),
            ],
        )
        self._function(
            "publish",
            layer=load_layer,
            place=args.load_place,
            environment={
                **verify_tls,
                "MAX_REJECTED_FRACTION": str(settings.max_rejected_fraction),
                "MAX_SHRINK_FRACTION": str(settings.max_shrink_fraction),
            },
            statements=[
                iam.Statement(sid="RawData", actions=["s3:GetObject"], resources=[raw]),
                # A copy with a repeated row is withdrawn. The bucket is versioned: the manifest's old version stays.
                iam.Statement(sid="WithdrawACopy", actions=["s3:DeleteObject"], resources=[manifests]),
                iam.Statement(sid="WhatIsPublished", actions=["s3:GetObject", "s3:PutObject"], resources=[published]),
                iam.Statement(sid="Reports", actions=["s3:PutObject"], resources=[reports]),
                missing_is_404,
                read_secrets,
                iam.key_use(args.scope, args.key_arn, via=["secretsmanager"]),
                iam.key_use(args.scope, args.key_arn, via=["s3"], write=True, sid="StackKeyForS3"),
            ],
        )
        self.register_outputs({"arns": self.arns})

    def _layer(self, role: str, code: pulumi.FileArchive) -> pulumi.Output[str]:
        architecture = self._args.settings.lambda_architecture
        return aws.lambda_.LayerVersion(
            f"{self._name}-{role}",
            layer_name=f"{self._name}-{role}",
            description=f"Python packages of {self._name}'s {role} side",
            code=code,
            compatible_runtimes=[RUNTIME],
            compatible_architectures=[architecture],
            opts=self._child,
        ).arn

    def _app_token(self) -> pulumi.Output[str] | None:
        token = self._args.settings.app_token.get_secret_value()
        if not token:
            return None
        secret = aws.secretsmanager.Secret(
            f"{self._name}-app-token",
            description="Socrata app token of the extract function",
            kms_key_id=self._args.key_arn,
            recovery_window_in_days=SECRET_RECOVERY_DAYS,
            opts=self._child,
        )
        aws.secretsmanager.SecretVersion(
            f"{self._name}-app-token",
            secret_id=secret.id,
            secret_string=pulumi.Output.secret(token),
            opts=self._child,
        )
        return secret.arn

    def _read_app_token(self, token_arn: pulumi.Output[str] | None) -> list[iam.Statement]:
        if token_arn is None:
            return []
        return [
            iam.Statement(sid="AppToken", actions=["secretsmanager:GetSecretValue"], resources=[token_arn]),
            iam.key_use(self._args.scope, self._args.key_arn, via=["secretsmanager"], sid="StackKeyForAppToken"),
        ]

    def _function(
        self,
        role_name: str,
        *,
        layer: pulumi.Output[str],
        place: Place | None,
        environment: Mapping[str, pulumi.Input[str]],
        statements: list[iam.Statement],
    ) -> None:
        name, size = f"{self._name}-{role_name}", SIZES[role_name]
        args, settings = self._args, self._args.settings
        # Made before the function, which would make it itself, unencrypted and kept for ever.
        log_group = aws.cloudwatch.LogGroup(
            name,
            name=naming.function_log_group(self._name, role_name),
            retention_in_days=settings.log_retention_days,
            kms_key_id=args.key_arn,
            opts=self._child,
        )
        role = iam.service_role(
            name,
            service="lambda.amazonaws.com",
            description=f"What the {role_name} function may do",
            statements=[
                *statements,
                iam.Statement(
                    sid="OwnLogs",
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[pulumi.Output.concat(log_group.arn, ":*")],
                ),
                iam.Statement(sid="Traces", actions=iam.TRACE_ACTIONS, resources=[iam.ANY_TRACE]),
                *(network_interfaces(args.scope.arn("lambda", f"function:{name}")) if place else []),
            ],
            opts=self._child,
        )
        function = aws.lambda_.Function(
            name,
            name=name,
            description=f"Electric Vehicle Population: {role_name}",
            role=role.arn,
            runtime=RUNTIME,
            architectures=[settings.lambda_architecture],
            handler=HANDLERS[role_name],
            code=self._code,
            layers=[layer],
            timeout=size.timeout_seconds,
            memory_size=size.memory_mb,
            environment={
                "variables": {
                    "STACK": args.scope.stack,
                    "POWERTOOLS_SERVICE_NAME": role_name,
                    "POWERTOOLS_METRICS_NAMESPACE": self._name,
                    "POWERTOOLS_LOG_LEVEL": "INFO",
                    **environment,
                }
            },
            logging_config={"log_format": "JSON", "log_group": log_group.name},
            tracing_config={"mode": "Active"},
            vpc_config={"subnet_ids": place.subnet_ids, "security_group_ids": [place.security_group_id]}
            if place
            else None,
            # Lambda keeps its network interfaces for up to 40 minutes after the function, and they keep their security
            # group. The default one goes with the VPC, so a destroy need not wait for them to delete ours.
            replace_security_groups_on_destroy=True if place else None,
            replacement_security_group_ids=[place.parking_security_group_id] if place else None,
            # No reserved concurrency: the state machine invokes one extract, one publish and loadConcurrency stages at
            # a time, and a young account has too few to reserve any.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.permissions, log_group]),
        )
        self.arns[role_name], self.names[role_name] = function.arn, function.name


def network_interfaces(function_arn: pulumi.Input[str]) -> list[iam.Statement]:
    """Return what Lambda needs to put a function into the VPC, kept from the function's own code.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-best-practice-security
    """
    return [
        iam.Statement(sid="LambdaInTheVpc", actions=NETWORK_INTERFACE_ACTIONS, resources=[iam.ANY_NETWORK_INTERFACE]),
        iam.Statement(
            sid="NotTheCodeItself",
            effect="Deny",
            actions=NETWORK_INTERFACE_ACTIONS,
            resources=[iam.ANY_NETWORK_INTERFACE],
            conditions={"ArnEquals": {"lambda:SourceFunctionArn": function_arn}},
        ),
    ]
