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
    # A t4g gets no launch credits: in standard mode a nano boots at its baseline of 5% CPU. In unlimited mode, the
    # default of t4g, AWS bills only what a day's credits do not pay back; alarms.py watches for that.
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/burstable-performance-instances-unlimited-mode-concepts.html
    "credit_specification": {"cpu_credits": "unlimited"},
    "maintenance_options": {"auto_recovery": "default"},  # moved to other hardware when its own fails
    "ebs_optimized": True,
}


def newest_image(parent: pulumi.Resource) -> pulumi.Output[str]:
    """Return the ID of the newest image, for an instance that is created or replaced now.

    The instances list `ami` in `ignore_changes`: a newer image every other week would otherwise show in every preview
    and fail the nightly drift check. To move one to the newest image, name it in `pulumi up --replace`: the engine
    creates the replacement from the program's inputs, to which `ignore_changes` does not apply.
    """
    image = aws.ssm.get_parameter_output(name=IMAGE_PARAMETER, opts=pulumi.InvokeOutputOptions(parent=parent))
    return pulumi.Output.unsecret(image.value)  # a public parameter, though parameters count as secret
