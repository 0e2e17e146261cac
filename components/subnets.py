"""Where each subnet lies in the VPC's address range. Pure.

A subnet's place depends on its tier and the letter of its zone alone, so adding, removing or reordering zones moves no
other subnet: moving one would replace the database in it. The range is cut into 32 equal slots:

    tier      slots    zone a, b, ... h
    public     0- 7    NAT
    private    8-15    the extract function, behind the NAT
    isolated  16-23    the database, the load functions and the endpoints, with no way out
    (spare)   24-31
"""

import ipaddress
import re
from typing import Any, Final, Literal

type Tier = Literal["public", "private", "isolated"]

TIERS: Final[tuple[Tier, ...]] = ("public", "private", "isolated")
ZONE_LETTERS: Final = "abcdefgh"
SLOT_BITS: Final = 5  # four tiers of eight zones
# AWS takes a VPC and a subnet from /16 to /28. https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
WIDEST_VPC: Final = 16
NARROWEST_VPC: Final = 28 - SLOT_BITS
PRIVATE_RANGES: Final = tuple(
    map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)


def parse_vpc_cidr(text: Any) -> ipaddress.IPv4Network:
    """Return the VPC's range; raise ValueError with the reason when it is none, public, too wide or too narrow."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"it is no IPv4 network: {error}") from error
    if "/" not in str(text) or not WIDEST_VPC <= network.prefixlen <= NARROWEST_VPC:
        raise ValueError(f"it is a /{network.prefixlen}")
    if not any(network.subnet_of(private) for private in PRIVATE_RANGES):
        raise ValueError("it is outside the private ranges, so it would hide public addresses")
    return network


def zone_letter(zone: str) -> str:
    """Return the letter that ends a zone's name; raise ValueError when it is no ordinary zone (`us-west-2-lax-1a`)."""
    if not re.fullmatch(rf"[a-z]{{2}}(-[a-z]+){{1,2}}-\d[{ZONE_LETTERS}]", zone):
        raise ValueError(f"{zone!r} is no availability zone")
    return zone[-1]


def subnet_cidr(vpc: ipaddress.IPv4Network, tier: Tier, zone: str) -> str:
    """Return the range of `tier`'s subnet in `zone`."""
    slot = TIERS.index(tier) * len(ZONE_LETTERS) + ZONE_LETTERS.index(zone_letter(zone))
    size = 2 ** (32 - vpc.prefixlen - SLOT_BITS)
    return f"{vpc.network_address + slot * size}/{vpc.prefixlen + SLOT_BITS}"
