"""The network: who is where, who may talk to whom, and what it takes to get out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pulumi_mocks import (
    ACCOUNT,
    EGRESSES,
    IMAGE,
    REGION,
    STACK_VARIANTS,
    Recording,
    Resource,
    record_stack,
    statements,
)

SUBNET = "aws:ec2/subnet:Subnet"
ROUTE = "aws:ec2/route:Route"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
IN = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
OUT = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
NAT = "aws:ec2/natGateway:NatGateway"
INSTANCE = "aws:ec2/instance:Instance"
IN_VPC = [variant for variant in STACK_VARIANTS if variant[1] != "lambda-managed"]


def rules(recording: Recording) -> set[tuple[str, str, str, int]]:
    """Return every rule as (direction, group, peer, port), groups by their role."""

    def role(group_id: str) -> str:
        return group_id.removesuffix("-id").split("-", 3)[3]

    found = set()
    for direction, typ in (("in", IN), ("out", OUT)):
        for rule in recording.of(typ):
            given = rule.inputs
            assert given["ipProtocol"] == "tcp"
            assert given["fromPort"] == given["toPort"]
            peer = given.get("cidrIpv4") or given.get("prefixListId") or role(given["referencedSecurityGroupId"])
            found.add((direction, role(given["securityGroupId"]), peer, given["toPort"]))
    return found


LOAD_AND_DATABASE = {
    ("out", "load", "secrets", 443),
    ("in", "secrets", "load", 443),
    ("out", "load", "pl-61a54008", 443),
    ("out", "load", "database", 5432),
    ("in", "database", "load", 5432),
}
EXTRACT = {("out", "extract", "0.0.0.0/0", 443)}


class TestWhoMayTalkToWhom:
    @pytest.mark.parametrize("stack", ["dev", "prod"])
    def test_load_reaches_secrets_s3_and_the_database_and_extract_the_source_and_nobody_anything_else(
        self, stack: str
    ) -> None:
        assert rules(record_stack(stack, egress="nat-gateway")) == LOAD_AND_DATABASE | EXTRACT

    def test_outside_the_vpc_extract_has_no_group(self) -> None:
        assert rules(record_stack("dev", egress="lambda-managed")) == LOAD_AND_DATABASE

    def test_a_nat_instance_forwards_https_from_the_private_subnets_only(self) -> None:
        nat = {
            ("in", "nat", "10.42.64.0/21", 443),
            ("in", "nat", "10.42.80.0/21", 443),
            ("out", "nat", "0.0.0.0/0", 443),
        }
        assert rules(record_stack("dev", egress="nat-instance")) == LOAD_AND_DATABASE | EXTRACT | nat

    def test_extract_reaches_secrets_only_if_there_is_a_token_to_read(self) -> None:
        with_token = rules(record_stack("dev", egress="nat-gateway", appToken="example-app-token"))
        assert with_token - LOAD_AND_DATABASE - EXTRACT == {("in", "secrets", "extract", 443)}

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_every_group_and_every_rule_says_what_it_is_for(self, stack: str, egress: str) -> None:
        recording = record_stack(stack, egress=egress)
        assert all(len(item.inputs["description"]) > 8 for typ in (GROUP, IN, OUT) for item in recording.of(typ))

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_rules_stand_beside_groups_never_in_them_where_the_two_would_fight(self, stack: str, egress: str) -> None:
        groups = record_stack(stack, egress=egress).of(GROUP)
        assert not any({"ingress", "egress"} & set(group.inputs) for group in groups)

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_nothing_is_open_to_the_internet(self, stack: str, egress: str) -> None:
        assert not any("0.0.0.0/0" in rule.inputs.values() for rule in record_stack(stack, egress=egress).of(IN))

    def test_the_default_group_lets_nobody_talk(self) -> None:
        default = record_stack("dev").one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
        assert default["ingress"] == default["egress"] == []


class TestTiers:
    def test_subnets_are_where_they_were_deployed(self) -> None:
        deployed = {
            (subnet.name, subnet.inputs["cidrBlock"])
            for subnet in record_stack("prod", egress="nat-gateway").of(SUBNET)
        }
        assert deployed == {
            ("ev-population-prod-public-ap-northeast-1a", "10.42.0.0/21"),
            ("ev-population-prod-public-ap-northeast-1c", "10.42.16.0/21"),
            ("ev-population-prod-public-ap-northeast-1d", "10.42.24.0/21"),
            ("ev-population-prod-private-ap-northeast-1a", "10.42.64.0/21"),
            ("ev-population-prod-private-ap-northeast-1c", "10.42.80.0/21"),
            ("ev-population-prod-private-ap-northeast-1d", "10.42.88.0/21"),
            ("ev-population-prod-isolated-ap-northeast-1a", "10.42.128.0/21"),
            ("ev-population-prod-isolated-ap-northeast-1c", "10.42.144.0/21"),
            ("ev-population-prod-isolated-ap-northeast-1d", "10.42.152.0/21"),
        }, "another range would replace a subnet, and what is in it"

    @pytest.mark.parametrize("egress", EGRESSES)
    def test_a_zone_more_changes_nothing_of_what_is_there(self, egress: str) -> None:
        two = record_stack("dev", egress=egress)
        three = record_stack(
            "dev", egress=egress, availabilityZones='["ap-northeast-1d", "ap-northeast-1c", "ap-northeast-1a"]'
        )
        before = {subnet.name: subnet.inputs for subnet in two.of(SUBNET)}
        after = {subnet.name: subnet.inputs for subnet in three.of(SUBNET)}
        assert before.items() <= after.items()
        assert all(name.endswith("-1d") for name in after.keys() - before.keys())

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_no_subnet_gives_out_public_addresses_by_itself(self, stack: str, egress: str) -> None:
        subnets = record_stack(stack, egress=egress).of(SUBNET)
        assert all(subnet.inputs["mapPublicIpOnLaunch"] is False for subnet in subnets)

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_the_isolated_tier_has_no_route_anywhere(self, stack: str, egress: str) -> None:
        recording = record_stack(stack, egress=egress)
        assert not [route for route in recording.of(ROUTE) if "isolated" in route.inputs["routeTableId"]]

    def test_outside_the_vpc_nothing_is_built_that_leads_out_of_it(self) -> None:
        recording = record_stack("prod", egress="lambda-managed")
        assert {subnet.name.split("-")[3] for subnet in recording.of(SUBNET)} == {"isolated"}
        for typ in (ROUTE, NAT, INSTANCE, "aws:ec2/internetGateway:InternetGateway", "aws:ec2/eip:Eip"):
            assert recording.of(typ) == []


class TestNat:
    @pytest.mark.parametrize(("stack", "count"), [("dev", 1), ("prod", 3)])
    @pytest.mark.parametrize(("egress", "typ"), [("nat-gateway", NAT), ("nat-instance", INSTANCE)])
    def test_dev_has_one_and_prod_one_a_zone_in_a_public_subnet(
        self, stack: str, count: int, egress: str, typ: str
    ) -> None:
        nats = record_stack(stack, egress=egress).of(typ)
        assert len(nats) == count
        for nat in nats:
            zone = nat.name.split("-nat-")[1]
            assert nat.inputs["subnetId"] == f"ev-population-{stack}-public-{zone}-id"

    @pytest.mark.parametrize(("stack", "egress"), IN_VPC)
    def test_every_private_subnet_leaves_by_its_own_zones_nat_or_the_one_that_there_is(
        self, stack: str, egress: str
    ) -> None:
        recording = record_stack(stack, egress=egress)
        target, prefix, suffix = (
            ("natGatewayId", "", "-id") if egress == "nat-gateway" else ("networkInterfaceId", "eni-", "")
        )
        routes = [route for route in recording.of(ROUTE) if "-private-" in route.name]
        assert len(routes) == len([subnet for subnet in recording.of(SUBNET) if "-private-" in subnet.name])
        for route in routes:
            zone = route.name.split("-private-")[1].removesuffix("-out")
            nat_zone = zone if stack == "prod" else "ap-northeast-1a"
            assert route.inputs[target] == f"{prefix}ev-population-{stack}-nat-{nat_zone}{suffix}"
            assert route.inputs["destinationCidrBlock"] == "0.0.0.0/0"
            assert route.inputs["routeTableId"] == f"ev-population-{stack}-private-{zone}-id"

    @pytest.mark.parametrize(("stack", "egress"), IN_VPC)
    def test_a_nat_waits_for_its_own_way_out(self, stack: str, egress: str) -> None:
        recording = record_stack(stack, egress=egress)
        out = recording.one(ROUTE, "public-out")
        nats = recording.of(INSTANCE if egress == "nat-instance" else NAT)
        assert nats
        assert all(out.urn in nat.depends_on for nat in nats)

    def test_a_nat_instance_forwards_and_lets_nobody_in(self) -> None:
        instance = record_stack("dev", egress="nat-instance").one(INSTANCE)
        given = instance.inputs
        assert given["ami"] == IMAGE
        assert given["sourceDestCheck"] is False, "it forwards what is not addressed to it"
        assert given["creditSpecification"] == {"cpuCredits": "unlimited"}, "a t4g has no launch credits"
        assert given["userDataReplaceOnChange"] is True, "user data runs at the first boot only"
        assert "keyName" not in given
        assert given["metadataOptions"]["httpTokens"] == "required"
        assert given["rootBlockDevice"]["encrypted"] is True
        assert given["maintenanceOptions"] == {"autoRecovery": "default"}

    def test_a_nat_instance_has_swap_before_it_installs_and_forwards_before_it_upgrades(self) -> None:
        script = record_stack("dev", egress="nat-instance").one(INSTANCE).inputs["userData"]
        steps = ["swapon ", "ip_forward = 1", "dnf install", "MASQUERADE", "service iptables save", "dnf upgrade"]
        places = [script.index(step) for step in steps]
        assert places == sorted(places), "512 MB are too few for dnf, and extract waits for the forwarding"

    def test_a_nat_instances_user_data_is_a_script_that_bash_can_read(self) -> None:
        script = record_stack("dev", egress="nat-instance").one(INSTANCE).inputs["userData"]
        assert script.startswith("#!/bin/bash\nset -euo pipefail\n")
        assert len(script.encode()) <= 16_384, "EC2 takes no more"
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)

    @pytest.mark.exhaustive
    def test_shellcheck_finds_nothing_in_a_nat_instances_user_data(self) -> None:
        script = record_stack("dev", egress="nat-instance").one(INSTANCE).inputs["userData"]
        found = subprocess.run(
            [Path(sys.executable).with_name("shellcheck"), "--enable=all", "-"],
            input=script, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout

    def test_a_new_image_does_not_replace_a_nat_instance_by_itself(self) -> None:
        instance = record_stack("dev", egress="nat-instance").one(INSTANCE)
        assert instance.ignore_changes == ("ami",)
        assert "ami" not in instance.secret_inputs, "an image that counts as secret hides every diff"

    def test_a_nat_instance_may_do_nothing_but_offer_a_session(self) -> None:
        recording = record_stack("dev", egress="nat-instance")
        attachment = recording.one("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "nat")
        assert attachment.inputs["policyArn"] == "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
        assert "ev-population-dev-nat" not in recording.names("aws:iam/rolePolicy:RolePolicy")


class TestEndpoints:
    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_s3_is_reached_from_inside_and_only_the_raw_bucket(self, stack: str, egress: str) -> None:
        recording = record_stack(stack, egress=egress)
        s3 = recording.one(ENDPOINT, "s3")
        tables = {f"{table.name}-id" for table in recording.of("aws:ec2/routeTable:RouteTable")}
        assert set(s3.inputs["routeTableIds"]) == {table for table in tables if "-public" not in table}
        (statement,) = s3.document("policy")["Statement"]
        bucket = f"arn:aws:s3:::ev-population-{stack}-raw-1a2b3c4"
        assert statement["Resource"] == [bucket, f"{bucket}/*"]
        assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}
        assert s3.inputs["serviceName"] == f"com.amazonaws.{REGION}.s3"

    @pytest.mark.parametrize(("stack", "zones"), [("dev", {"a"}), ("prod", {"a", "c", "d"})])
    def test_secrets_manager_is_reached_in_every_zone_that_must_survive_alone(
        self, stack: str, zones: set[str]
    ) -> None:
        secrets = record_stack(stack).one(ENDPOINT, "secrets")
        wanted = {f"ev-population-{stack}-isolated-ap-northeast-1{letter}-id" for letter in zones}
        assert set(secrets.inputs["subnetIds"]) == wanted
        assert secrets.inputs["privateDnsEnabled"] is True
        assert secrets.inputs["securityGroupIds"] == [f"ev-population-{stack}-secrets-id"]
        (statement,) = statements(secrets.document("policy"))
        assert statement["Action"] == ["secretsmanager:GetSecretValue"]
        prefix = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:"
        assert statement["Resource"] == [f"{prefix}ev-population-{stack}-*", f"{prefix}rds!db-*"]

    def test_names_inside_the_vpc_resolve_to_the_endpoint(self) -> None:
        vpc = record_stack("dev").one("aws:ec2/vpc:Vpc").inputs
        assert vpc["enableDnsSupport"] is vpc["enableDnsHostnames"] is True
        assert vpc["cidrBlock"] == "10.42.0.0/16"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_all_traffic_is_logged(stack: str) -> None:
    recording = record_stack(stack)
    flow_log = recording.one("aws:ec2/flowLog:FlowLog")
    assert flow_log.inputs["trafficType"] == "ALL"
    assert flow_log.inputs["vpcId"] == f"ev-population-{stack}-vpc-id"
    role = recording.one("aws:iam/role:Role", "flow-logs").document("assumeRolePolicy")["Statement"][0]
    assert role["Condition"]["StringEquals"] == {"aws:SourceAccount": ACCOUNT}


class TestTeardown:
    """Lambda gives its network interfaces back long after a function is gone."""

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_what_held_functions_is_given_the_time_that_lambda_takes(self, stack: str, egress: str) -> None:
        recording = record_stack(stack, egress=egress)
        subnets = [subnet for subnet in recording.of(SUBNET) if "-public-" not in subnet.name]
        groups = [group for group in recording.of(GROUP) if group.name.endswith(("-load", "-extract"))]
        assert subnets
        assert groups
        assert {item.delete_timeout for item in [*subnets, *groups]} == {"60m"}

    @pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
    def test_functions_let_go_of_their_group_before_they_are_deleted(self, stack: str, egress: str) -> None:
        functions: list[Resource] = record_stack(stack, egress=egress).of("aws:lambda/function:Function")
        for function in (function for function in functions if "vpcConfig" in function.inputs):
            assert function.inputs["replaceSecurityGroupsOnDestroy"] is True
            assert function.inputs["replacementSecurityGroupIds"] == [f"ev-population-{stack}-default-id"]
