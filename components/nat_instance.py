"""A small instance as NAT: a tenth of a NAT gateway's price, with minutes of downtime when it is replaced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws

from components import firewall, host, iam
from components.naming import Scope

# Amazon's own image and a few lines, rather than a third party's image in the way of all that leaves the VPC. Swap
# comes first, as dnf can need more than a nano's 512 MB; then forwarding; the upgrade last, as nothing waits for it.
# https://docs.aws.amazon.com/vpc/latest/userguide/work-with-nat-instances.html
# https://repost.aws/knowledge-center/ec2-memory-swap-file
USER_DATA: Final = """\
#!/bin/bash
set -euo pipefail
dd if=/dev/zero of=/swapfile bs=1M count=1024
chmod 600 /swapfile
mkswap /swapfile
swapon /swapfile
echo '/swapfile swap swap defaults 0 0' >> /etc/fstab

echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/90-nat.conf
sysctl -p /etc/sysctl.d/90-nat.conf
until dnf install -y iptables-services; do sleep 10; done
systemctl enable --now iptables
iptables -F FORWARD
interface=$(ip -4 route show default | awk 'NR == 1 {print $5}')
iptables -t nat -A POSTROUTING -o "${interface}" -j MASQUERADE
service iptables save

until dnf upgrade -y --releasever=latest; do sleep 10; done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatInstanceArgs:
    """Where the instances stand and whom they serve, by zone; `internet_route` is their own way out."""

    scope: Scope
    vpc_id: pulumi.Input[str]
    public_subnet_ids: Mapping[str, pulumi.Input[str]]
    client_cidrs: Mapping[str, str]
    internet_route: pulumi.Resource


class NatInstance(pulumi.ComponentResource):
    """One NAT instance in each of the given subnets. No key pair: a shell is had through Session Manager."""

    instance_ids: dict[str, pulumi.Output[str]]
    network_interface_ids: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: NatInstanceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Create the instances with what they may do and whom they let in."""
        super().__init__("ev-population:index:NatInstance", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)

        group = aws.ec2.SecurityGroup(
            f"{name}-nat",
            description="NAT instances: HTTPS from the private subnets, HTTPS to anywhere",
            vpc_id=args.vpc_id,
            tags={"Name": f"{name}-nat"},
            opts=child,
        )
        for zone, cidr in args.client_cidrs.items():
            firewall.rule(
                f"{name}-nat-from-private-{zone}",
                "in",
                group.id,
                f"HTTPS from the private subnet in {zone}",
                cidr_ipv4=cidr,
                opts=child,
            )
        firewall.rule(
            f"{name}-nat-to-internet",
            "out",
            group.id,
            "HTTPS to anywhere: addresses of the source change",
            cidr_ipv4=firewall.ANYWHERE,
            opts=child,
        )

        role = iam.managed_role(
            f"{name}-nat",
            service="ec2.amazonaws.com",
            managed_policy="AmazonSSMManagedInstanceCore",
            scope=args.scope,
            description="NAT instances: Session Manager and nothing else",
            opts=child,
        )
        profile = aws.iam.InstanceProfile(
            f"{name}-nat",
            name=f"{name}-nat",
            role=role.name,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.permissions]),
        )
        image = host.newest_image(self)

        self.instance_ids, self.network_interface_ids = {}, {}
        for zone, subnet_id in args.public_subnet_ids.items():
            instance = aws.ec2.Instance(
                f"{name}-nat-{zone}",
                **host.HARDENED,
                ami=image,
                subnet_id=subnet_id,
                associate_public_ip_address=True,
                source_dest_check=False,  # it forwards what is not addressed to it
                vpc_security_group_ids=[group.id],
                iam_instance_profile=profile.name,
                user_data=USER_DATA,
                user_data_replace_on_change=True,
                tags={"Name": f"{name}-nat-{zone}"},
                # `pulumi up --replace` creates it from the newest image: docs/operate.md#nat-instance
                opts=pulumi.ResourceOptions(parent=self, depends_on=[args.internet_route], ignore_changes=["ami"]),
            )
            self.instance_ids[zone] = instance.id
            self.network_interface_ids[zone] = instance.primary_network_interface_id
        self.register_outputs({"instanceIds": self.instance_ids})
