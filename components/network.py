"""The VPC: an isolated tier for the database and the functions that load it, endpoints, and who may talk to whom."""

from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from components import firewall, iam, naming, subnets
from components.egress import INTERFACES_GONE, Egress, EgressArgs
from components.firewall import ANYWHERE, POSTGRES
from components.naming import Scope
from components.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkArgs:
    """What the network depends on: the endpoint to S3 leads to this bucket only."""

    scope: Scope
    settings: Settings
    key_arn: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """The VPC and all that is in it but the database. What has no business outside cannot get there."""

    vpc_id: pulumi.Output[str]
    isolated_subnet_ids: list[pulumi.Output[str]]
    private_subnet_ids: list[pulumi.Output[str]]  # empty when the extract function runs outside the VPC
    default_security_group_id: pulumi.Output[str]
    database_security_group_id: pulumi.Output[str]
    load_security_group_id: pulumi.Output[str]
    extract_security_group_id: pulumi.Output[str] | None
    nat_instance_ids: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the VPC, its tiers, endpoints, security groups and flow logs."""
        super().__init__("ev-population:index:Network", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        settings = args.settings

        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=str(settings.vpc_cidr),
            enable_dns_support=True,
            enable_dns_hostnames=True,  # private DNS of the endpoint needs both
            tags={"Name": name},
            opts=self._child,
        )
        self.vpc_id = vpc.id
        # Whatever is created without a group of its own can talk to nobody.
        default_group = aws.ec2.DefaultSecurityGroup(
            f"{name}-default",
            vpc_id=vpc.id,
            ingress=[],
            egress=[],
            tags={"Name": f"{name}-default-unused"},
            opts=self._child,
        )
        self.default_security_group_id = default_group.id
        self._flow_logs()

        self.private_subnet_ids, self.nat_instance_ids = [], {}
        route_table_ids = []
        if settings.extract_in_vpc:
            egress = Egress(name, EgressArgs(scope=args.scope, settings=settings, vpc_id=vpc.id), opts=self._child)
            self.private_subnet_ids, self.nat_instance_ids = egress.private_subnet_ids, egress.nat_instance_ids
            route_table_ids += egress.private_route_table_ids

        isolated = self._isolated_subnets()
        self.isolated_subnet_ids = list(isolated.values())
        isolated_table = aws.ec2.RouteTable(
            f"{name}-isolated", vpc_id=vpc.id, tags={"Name": f"{name}-isolated"}, opts=self._child
        )
        for zone, subnet_id in isolated.items():
            aws.ec2.RouteTableAssociation(
                f"{name}-isolated-{zone}", route_table_id=isolated_table.id, subnet_id=subnet_id, opts=self._child
            )

        s3 = self._s3_endpoint([*route_table_ids, isolated_table.id])
        secrets = self._security_group("secrets", "Secrets Manager endpoint: HTTPS from the functions")
        self._secrets_endpoint(secrets.id, [isolated[zone] for zone in settings.resilient_zones])

        database = self._security_group("database", "Database: PostgreSQL from the load functions")
        load = self._security_group("load", "Load functions: Secrets Manager, S3 and the database")
        self._rule(
            "out", "load-to-secrets", load.id, "HTTPS to Secrets Manager", referenced_security_group_id=secrets.id
        )
        self._rule("in", "secrets-from-load", secrets.id, "HTTPS from load", referenced_security_group_id=load.id)
        self._rule("out", "load-to-s3", load.id, "HTTPS to S3 in this region", prefix_list_id=s3.prefix_list_id)
        self._rule(
            "out",
            "load-to-database",
            load.id,
            "PostgreSQL to the database",
            referenced_security_group_id=database.id,
            port=POSTGRES,
        )
        self._rule(
            "in",
            "database-from-load",
            database.id,
            "PostgreSQL from load",
            referenced_security_group_id=load.id,
            port=POSTGRES,
        )
        self.database_security_group_id, self.load_security_group_id = database.id, load.id

        self.extract_security_group_id = None
        if settings.extract_in_vpc:
            extract = self._security_group("extract", "Extract function: HTTPS to the source")
            self._rule(
                "out",
                "extract-to-source",
                extract.id,
                "HTTPS to anywhere: addresses of the source change",
                cidr_ipv4=ANYWHERE,
            )
            if settings.app_token.get_secret_value():
                self._rule(
                    "in",
                    "secrets-from-extract",
                    secrets.id,
                    "HTTPS from extract",
                    referenced_security_group_id=extract.id,
                )
            self.extract_security_group_id = extract.id

        self.register_outputs({"vpcId": self.vpc_id, "isolatedSubnetIds": self.isolated_subnet_ids})

    def _isolated_subnets(self) -> dict[str, pulumi.Output[str]]:
        settings = self._args.settings
        return {
            zone: aws.ec2.Subnet(
                f"{self._name}-isolated-{zone}",
                vpc_id=self.vpc_id,
                availability_zone=zone,
                cidr_block=subnets.subnet_cidr(settings.vpc_cidr, "isolated", zone),
                map_public_ip_on_launch=False,
                tags={"Name": f"{self._name}-isolated-{zone}"},
                opts=pulumi.ResourceOptions(parent=self, custom_timeouts=INTERFACES_GONE),
            ).id
            for zone in settings.availability_zones
        }

    def _s3_endpoint(self, route_table_ids: list[pulumi.Output[str]]) -> aws.ec2.VpcEndpoint:
        bucket_arn = self._args.bucket_arn
        return aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self.vpc_id,
            vpc_endpoint_type="Gateway",
            service_name=f"com.amazonaws.{self._args.scope.region}.s3",
            route_table_ids=route_table_ids,
            policy=iam.policy(
                iam.Statement(
                    sid="TheRawBucketOnly",
                    principal="*",
                    actions=["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
                    resources=[bucket_arn, pulumi.Output.concat(bucket_arn, "/*")],
                    conditions={"StringEquals": {"aws:PrincipalAccount": self._args.scope.account_id}},
                )
            ),
            tags={"Name": f"{self._name}-s3"},
            opts=self._child,
        )

    def _secrets_endpoint(self, group_id: pulumi.Output[str], subnet_ids: list[pulumi.Output[str]]) -> None:
        scope = self._args.scope
        aws.ec2.VpcEndpoint(
            f"{self._name}-secrets",
            vpc_id=self.vpc_id,
            vpc_endpoint_type="Interface",
            service_name=f"com.amazonaws.{scope.region}.secretsmanager",
            private_dns_enabled=True,
            subnet_ids=subnet_ids,
            security_group_ids=[group_id],
            policy=iam.policy(
                iam.Statement(
                    sid="SecretsOfThisStack",
                    principal="*",
                    actions=["secretsmanager:GetSecretValue"],
                    # RDS names the master secret itself; which of them may be read, each function's role says.
                    resources=[
                        scope.arn("secretsmanager", f"secret:{scope.prefix}-*"),
                        scope.arn("secretsmanager", "secret:rds!db-*"),
                    ],
                    conditions={"StringEquals": {"aws:PrincipalAccount": scope.account_id}},
                )
            ),
            tags={"Name": f"{self._name}-secrets"},
            opts=self._child,
        )

    def _security_group(self, role: str, description: str) -> aws.ec2.SecurityGroup:
        return aws.ec2.SecurityGroup(
            f"{self._name}-{role}",
            description=description,
            vpc_id=self.vpc_id,
            tags={"Name": f"{self._name}-{role}"},
            opts=pulumi.ResourceOptions(parent=self, custom_timeouts=INTERFACES_GONE),
        )

    def _rule(
        self,
        direction: Literal["in", "out"],
        role: str,
        group_id: pulumi.Output[str],
        description: str,
        **port_and_peer: Any,
    ) -> None:
        firewall.rule(f"{self._name}-{role}", direction, group_id, description, opts=self._child, **port_and_peer)

    def _flow_logs(self) -> None:
        name, scope = self._name, self._args.scope
        group = aws.cloudwatch.LogGroup(
            f"{name}-flow-logs",
            name=naming.flow_log_group(name),
            retention_in_days=self._args.settings.log_retention_days,
            kms_key_id=self._args.key_arn,
            opts=self._child,
        )
        role = iam.service_role(
            f"{name}-flow-logs",
            service="vpc-flow-logs.amazonaws.com",
            description="VPC flow logs: write to their log group",
            trust_conditions={
                "StringEquals": {"aws:SourceAccount": scope.account_id},
                "ArnLike": {"aws:SourceArn": scope.arn("ec2", "vpc-flow-log/*")},
            },
            statements=[
                iam.Statement(
                    actions=["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                    resources=[group.arn, pulumi.Output.concat(group.arn, ":*")],
                )
            ],
            opts=self._child,
        )
        aws.ec2.FlowLog(
            f"{name}-flow-logs",
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=600,
            tags={"Name": f"{name}-flow-logs"},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.permissions]),
        )
