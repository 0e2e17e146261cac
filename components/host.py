"""What the stack's small instances have in common: Amazon's own image, IMDSv2, an encrypted disk, no key pair."""

from typing import Any, Final

import pulumi
import pulumi_aws as aws

# The standard image, not the minimal one: it carries the SSM agent.
IMAGE_PARAMETER: Final = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
INSTANCE_TYPE: Final = "t4g.nano"
# The inputs that no small instance goes without.
HARDENED: Final[dict[str, Any]] = {
    "instance_type": INSTANCE_TYPE,
    "metadata_options": {"http_tokens": "required", "http_put_response_hop_limit": 1},
    "root_block_device": {"encrypted": True, "volume_type": "gp3", "volume_size": 8},
    "credit_specification": {"cpu_credits": "standard"},  # never billed beyond the hour's price
    "maintenance_options": {"auto_recovery": "default"},  # moved to other hardware when its own fails
    "ebs_optimized": True,
}


def newest_image(parent: pulumi.Resource) -> pulumi.Output[str]:
    """Return the newest image, for an instance that is made now.

    An instance that exists ignores it (`ignore_changes`), even as it is replaced: a newer image every other week would
    show in every preview and fail the nightly search for drift. How each gets it is said where it is made.
    """
    image = aws.ssm.get_parameter_output(name=IMAGE_PARAMETER, opts=pulumi.InvokeOutputOptions(parent=parent))
    return pulumi.Output.unsecret(image.value)  # a public parameter, though parameters count as secret
