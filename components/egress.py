"""The way out for the extract function: public and private subnets, and between them a NAT."""

from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components import subnets
from components.firewall import ANYWHERE
from components.naming import Scope
from components.nat_instance import NatInstance, NatInstanceArgs
from components.settings import Settings

# Lambda gives its network interfaces back up to 40 minutes after the last function in them is gone, and a destroy waits
# for that here. https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-enis
INTERFACES_GONE: Final = pulumi.CustomTimeouts(delete="60m")


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressArgs:
    """What the way out depends on."""

    scope: Scope
    settings: Settings
    vpc_id: pulumi.Input[str]


class Egress(pulumi.ComponentResource):
    """Public and private subnets in every zone; a NAT in every zone, or in the first one for all."""

    private_subnet_ids: list[pulumi.Output[str]]
    private_route_table_ids: list[pulumi.Output[str]]
    nat_instance_ids: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: EgressArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the subnets, the NAT that config asks for, and the routes through it."""
        super().__init__("ev-population:index:Egress", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings
        zones = settings.availability_zones
        private_cidrs = {zone: subnets.subnet_cidr(settings.vpc_cidr, "private", zone) for zone in zones}

        internet = aws.ec2.InternetGateway(
            f"{name}-internet", vpc_id=args.vpc_id, tags={"Name": f"{name}-internet"}, opts=child
        )
        public_table = aws.ec2.RouteTable(
            f"{name}-public", vpc_id=args.vpc_id, tags={"Name": f"{name}-public"}, opts=child
        )
        public_route = aws.ec2.Route(
            f"{name}-public-out",
            route_table_id=public_table.id,
            destination_cidr_block=ANYWHERE,
            gateway_id=internet.id,
            opts=child,
        )
        public_subnet_ids = {}
        for zone in zones:
            subnet = aws.ec2.Subnet(
                f"{name}-public-{zone}",
                vpc_id=args.vpc_id,
                availability_zone=zone,
                cidr_block=subnets.subnet_cidr(settings.vpc_cidr, "public", zone),
                map_public_ip_on_launch=False,
                tags={"Name": f"{name}-public-{zone}"},
                opts=child,
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-public-{zone}", route_table_id=public_table.id, subnet_id=subnet.id, opts=child
            )
            public_subnet_ids[zone] = subnet.id

        # A NAT that starts before its own way out is there may miss its first minutes.
        after_route = pulumi.ResourceOptions(parent=self, depends_on=[public_route])
        nat_subnet_ids = {zone: public_subnet_ids[zone] for zone in settings.resilient_zones}
        self.nat_instance_ids = {}
        way_out: dict[str, dict[str, Any]]
        if settings.egress == "nat-instance":
            instances = NatInstance(
                name,
                NatInstanceArgs(
                    scope=args.scope,
                    vpc_id=args.vpc_id,
                    public_subnet_ids=nat_subnet_ids,
                    client_cidrs=private_cidrs,
                    internet_route=public_route,
                ),
                opts=child,
            )
            self.nat_instance_ids = instances.instance_ids
            way_out = {zone: {"network_interface_id": id_} for zone, id_ in instances.network_interface_ids.items()}
        else:
            way_out = {}
            for zone, subnet_id in nat_subnet_ids.items():
                address = aws.ec2.Eip(
                    f"{name}-nat-{zone}", domain="vpc", tags={"Name": f"{name}-nat-{zone}"}, opts=after_route
                )
                gateway = aws.ec2.NatGateway(
                    f"{name}-nat-{zone}",
                    subnet_id=subnet_id,
                    allocation_id=address.id,
                    tags={"Name": f"{name}-nat-{zone}"},
                    opts=after_route,
                )
                way_out[zone] = {"nat_gateway_id": gateway.id}

        self.private_subnet_ids, self.private_route_table_ids = [], []
        for zone in zones:
            subnet = aws.ec2.Subnet(
                f"{name}-private-{zone}",
                vpc_id=args.vpc_id,
                availability_zone=zone,
                cidr_block=private_cidrs[zone],
                map_public_ip_on_launch=False,
                tags={"Name": f"{name}-private-{zone}"},
                opts=pulumi.ResourceOptions(parent=self, custom_timeouts=INTERFACES_GONE),
            )
            # A table a zone even with one NAT for all, so that turning databaseMultiAz on moves no subnet's table.
            table = aws.ec2.RouteTable(
                f"{name}-private-{zone}", vpc_id=args.vpc_id, tags={"Name": f"{name}-private-{zone}"}, opts=child
            )
            aws.ec2.Route(
                f"{name}-private-{zone}-out",
                route_table_id=table.id,
                destination_cidr_block=ANYWHERE,
                **way_out.get(zone, way_out[settings.resilient_zones[0]]),
                opts=child,
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-private-{zone}", route_table_id=table.id, subnet_id=subnet.id, opts=child
            )
            self.private_subnet_ids.append(subnet.id)
            self.private_route_table_ids.append(table.id)
        self.register_outputs({"privateSubnetIds": self.private_subnet_ids})
