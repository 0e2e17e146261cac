"""Rules of security groups: each opens one TCP port to one peer and says what for."""

from typing import Any, Final, Literal

import pulumi
import pulumi_aws as aws

ANYWHERE: Final = "0.0.0.0/0"
HTTPS: Final = 443
POSTGRES: Final = 5432


def rule(
    name: str,
    direction: Literal["in", "out"],
    group_id: pulumi.Input[str],
    description: str,
    *,
    opts: pulumi.ResourceOptions,
    port: int = HTTPS,
    **peer: Any,
) -> None:
    """Create a rule of the group; `peer` is the one input that names who is at the other end."""
    kinds = {"in": aws.vpc.SecurityGroupIngressRule, "out": aws.vpc.SecurityGroupEgressRule}
    kinds[direction](
        name,
        security_group_id=group_id,
        description=description,
        ip_protocol="tcp",
        from_port=port,
        to_port=port,
        **peer,
        opts=opts,
    )
