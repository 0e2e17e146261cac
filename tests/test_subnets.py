"""Subnets: never overlapping, inside the VPC, and where they were before."""

from ipaddress import IPv4Network
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components import subnets
from components.subnets import Tier

TIERS: tuple[Tier, ...] = ("public", "private", "isolated")
ZONES = [f"ap-northeast-1{letter}" for letter in "abcdefgh"]

# Deployed addresses: an upgrade that computed others would replace the subnets, and the database in them.
LAYOUT = {
    ("public", "ap-northeast-1a"): "10.42.0.0/21",
    ("public", "ap-northeast-1c"): "10.42.16.0/21",
    ("public", "ap-northeast-1d"): "10.42.24.0/21",
    ("private", "ap-northeast-1a"): "10.42.64.0/21",
    ("private", "ap-northeast-1c"): "10.42.80.0/21",
    ("private", "ap-northeast-1d"): "10.42.88.0/21",
    ("isolated", "ap-northeast-1a"): "10.42.128.0/21",
    ("isolated", "ap-northeast-1c"): "10.42.144.0/21",
    ("isolated", "ap-northeast-1d"): "10.42.152.0/21",
}


@pytest.mark.parametrize(("tier", "zone"), LAYOUT)
def test_the_default_network_is_laid_out_as_it_was_deployed(tier: Tier, zone: str) -> None:
    assert subnets.subnet_cidr(IPv4Network("10.42.0.0/16"), tier, zone) == LAYOUT[tier, zone]


@st.composite
def vpcs(draw: st.DrawFn) -> IPv4Network:
    """Return any range that a VPC may have."""
    prefix = draw(st.integers(16, 23))
    number = draw(st.integers(0, 2 ** (prefix - 8) - 1))
    return IPv4Network((int(IPv4Network("10.0.0.0/8").network_address) + (number << (32 - prefix)), prefix))


@given(vpcs())
def test_subnets_stay_inside_the_vpc_and_never_overlap_in_any_vpc(vpc: IPv4Network) -> None:
    placed = [IPv4Network(subnets.subnet_cidr(vpc, tier, zone)) for tier, zone in product(TIERS, ZONES)]
    assert all(subnet.subnet_of(vpc) for subnet in placed)
    assert not any(one.overlaps(other) for one, other in combinations(placed, 2))
    assert all(16 <= subnet.prefixlen <= 28 for subnet in placed), "AWS takes subnets from /16 to /28"
    assert subnets.parse_vpc_cidr(str(vpc)) == vpc


@pytest.mark.parametrize("zone", ["ap-northeast-1", "ap-northeast-1i", "us-west-2-lax-1a", "apne1-az1", "a", ""])
def test_what_is_no_ordinary_zone_is_refused_by_name(zone: str) -> None:
    with pytest.raises(ValueError, match=f"'{zone}' is no availability zone"):
        subnets.zone_letter(zone)


@pytest.mark.parametrize("zone", ["ap-northeast-1a", "us-gov-west-1b", "eu-central-1c"])
def test_zones_of_every_partition_have_their_letter(zone: str) -> None:
    assert subnets.zone_letter(zone) == zone[-1]
