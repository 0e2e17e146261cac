"""A way in for people: a host with no open port, through which Systems Manager forwards one to the database.

    laptop --- AWS' API ---> Session Manager <--- 443 --- host --- 5432 ---> database

The host calls out and nobody calls it. It stands behind the NAT where there is one; without one (lambda-managed) it
stands with the database and reaches Systems Manager through two interface endpoints.
"""

from dataclasses import dataclass
from typing import Final, Literal

import pulumi
import pulumi_aws as aws

from components import firewall, host, iam
from components.firewall import ANYWHERE, POSTGRES
from components.naming import Scope
from components.network import Network
from components.settings import Settings

# On the analyst's machine: beside, not in place of, a PostgreSQL of their own.
LOCAL_PORT: Final = 15432
# What Session Manager asks of a host, and nothing else. AmazonSSMManagedInstanceCore would also let it read every
# parameter of the account. https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
REGISTER_ACTIONS: Final = ("ssm:UpdateInstanceInformation",)
CHANNEL_ACTIONS: Final = (
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalystAccessArgs:
    """Where the host stands and what it leads to."""

    scope: Scope
    settings: Settings
    network: Network
    database_address: pulumi.Input[str]


class AnalystAccess(pulumi.ComponentResource):
    """The host, who may talk to it (nobody) and to whom it may talk (the database, Systems Manager)."""

    command: pulumi.Output[str]
    instance_id: pulumi.Output[str]

    def __init__(self, name: str, args: AnalystAccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the host, and what it needs to be reached by Systems Manager."""
        super().__init__("ev-population:index:AnalystAccess", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        network = args.network

        group = self._security_group("analyst", "Analyst host: PostgreSQL to the database, HTTPS to SSM")
        database_id = network.database_security_group_id
        self._rule(
            "analyst-to-database", "out", group.id, "PostgreSQL to the database", peer_id=database_id, port=POSTGRES
        )
        self._rule(
            "database-from-analyst", "in", database_id, "PostgreSQL from the host", peer_id=group.id, port=POSTGRES
        )
        if args.settings.extract_in_vpc:
            subnet_id = network.private_subnet_ids[0]
            way_out: list[pulumi.Resource] = [network]
            firewall.rule(
                f"{name}-analyst-to-ssm",
                "out",
                group.id,
                "HTTPS to anywhere: addresses of Systems Manager change",
                cidr_ipv4=ANYWHERE,
                opts=self._child,
            )
        else:
            subnet_id = network.isolated_subnet_ids[0]
            way_out = self._endpoints(group.id, subnet_id)

        role = iam.service_role(
            f"{name}-analyst",
            service="ec2.amazonaws.com",
            statements=[self._register(), self._channels()],
            description="Analysts' host: Session Manager and nothing else",
            opts=self._child,
        )
        profile = aws.iam.InstanceProfile(
            f"{name}-analyst",
            name=f"{name}-analyst",
            role=role.name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.permissions]),
        )
        instance = aws.ec2.Instance(
            f"{name}-analyst",
            **host.HARDENED,
            ami=host.newest_image(self),
            subnet_id=subnet_id,
            associate_public_ip_address=False,
            vpc_security_group_ids=[group.id],
            iam_instance_profile=profile.name,
            tags={"Name": f"{name}-analyst"},
            # An agent that finds no way out retries less and less often. `pulumi up --replace` creates the host anew
            # from the newest image: docs/analysts.md#look-after-the-host
            opts=pulumi.ResourceOptions(parent=self, depends_on=way_out, ignore_changes=["ami"]),
        )

        self.instance_id = instance.id
        self.command = pulumi.Output.format(
            "aws ssm start-session --region {} --target {} --document-name AWS-StartPortForwardingSessionToRemoteHost "
            "--parameters host={},portNumber={},localPortNumber={}",
            *(args.scope.region, instance.id, args.database_address, POSTGRES, LOCAL_PORT),
        )
        self.register_outputs({"command": self.command})

    def _register(self) -> iam.Statement:
        return iam.Statement(
            sid="Register", actions=REGISTER_ACTIONS, resources=[self._args.scope.arn("ec2", "instance/*")]
        )

    def _channels(self) -> iam.Statement:
        return iam.Statement(sid="Channels", actions=CHANNEL_ACTIONS, resources=[iam.ANY_CHANNEL])

    def _endpoints(self, host_group_id: pulumi.Output[str], subnet_id: pulumi.Output[str]) -> list[pulumi.Resource]:
        """Create the two endpoints that an agent since 3.3.40.0 needs; older ones want ec2messages too.

        https://docs.aws.amazon.com/systems-manager/latest/userguide/setup-create-vpc.html
        """
        group = self._security_group("ssm", "Systems Manager endpoints: HTTPS from the analyst host")
        self._rule("analyst-to-ssm", "out", host_group_id, "HTTPS to Systems Manager", peer_id=group.id)
        self._rule("ssm-from-analyst", "in", group.id, "HTTPS from the host", peer_id=host_group_id)
        return [
            aws.ec2.VpcEndpoint(
                f"{self._name}-{service}",
                vpc_id=self._args.network.vpc_id,
                vpc_endpoint_type="Interface",
                service_name=f"com.amazonaws.{self._args.scope.region}.{service}",
                private_dns_enabled=True,
                subnet_ids=[subnet_id],
                security_group_ids=[group.id],
                policy=iam.policy(
                    iam.Statement(
                        sid="HostsOfThisAccount",
                        principal="*",
                        actions=statement.actions,
                        resources=statement.resources,
                        conditions={"StringEquals": {"aws:PrincipalAccount": self._args.scope.account_id}},
                    )
                ),
                tags={"Name": f"{self._name}-{service}"},
                opts=self._child,
            )
            for service, statement in (("ssm", self._register()), ("ssmmessages", self._channels()))
        ]

    def _security_group(self, role: str, description: str) -> aws.ec2.SecurityGroup:
        return aws.ec2.SecurityGroup(
            f"{self._name}-{role}",
            description=description,
            vpc_id=self._args.network.vpc_id,
            tags={"Name": f"{self._name}-{role}"},
            opts=self._child,
        )

    def _rule(
        self,
        role: str,
        direction: Literal["in", "out"],
        group_id: pulumi.Output[str],
        description: str,
        *,
        peer_id: pulumi.Output[str],
        port: int = firewall.HTTPS,
    ) -> None:
        firewall.rule(
            f"{self._name}-{role}",
            direction,
            group_id,
            description,
            port=port,
            referenced_security_group_id=peer_id,
            opts=self._child,
        )
