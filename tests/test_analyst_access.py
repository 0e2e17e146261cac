"""The way in for people: closed to all but Systems Manager, and leading to the database alone, whatever the way out."""

import re
import shlex
from contextlib import closing

import psycopg2
import pytest

from evdata.warehouse import migrate
from local.postgres import Database
from tests.pulumi_mocks import (
    ACCOUNT,
    EGRESSES,
    IMAGE,
    PROJECT,
    REGION,
    STACK_VARIANTS,
    Recording,
    granted,
    record_stack,
)

INSTANCE = "aws:ec2/instance:Instance"
DATABASE = "aws:rds/instance:Instance"
IN = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
OUT = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"

everywhere = pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)


def with_access(stack: str = "dev", egress: str = "nat-instance", access: str = "ssm") -> Recording:
    return record_stack(stack, egress=egress, analystAccess=access)


def peers(recording: Recording, direction: str, group: str) -> set[tuple[str, int]]:
    """Return whom the rules of a group name, and at which port."""
    return {
        (rule.inputs.get("cidrIpv4") or rule.inputs["referencedSecurityGroupId"], rule.inputs["toPort"])
        for rule in recording.of(direction)
        if rule.inputs["securityGroupId"] == f"{group}-id"
    }


@everywhere
def test_without_it_there_is_no_trace_of_it(stack: str, egress: str) -> None:
    recording = with_access(stack, egress, "none")
    assert not [item.name for item in recording.resources if "analyst" in item.name or item.name.endswith("-ssm")]
    assert "analystCommand" not in recording.outputs


@everywhere
def test_it_adds_a_host_lets_people_log_in_as_themselves_and_changes_nothing_else(stack: str, egress: str) -> None:
    without = {item.urn: item for item in with_access(stack, egress, "none").resources}
    added = [item for item in with_access(stack, egress).resources if without.get(item.urn) != item]
    allowed = {"-db", "-analyst", "-database-from-analyst", "-analyst-to-database", "-analyst-to-ssm"}
    allowed |= {"-analyst-credits", "-dashboard"}
    allowed |= {"-ssm", "-ssm-from-analyst", "-ssmmessages"} if egress == "lambda-managed" else set()
    component = [item.name for item in added if not item.custom]
    assert component == [f"ev-population-{stack}"]
    assert {item.name.removeprefix(f"ev-population-{stack}") for item in added if item.custom} == allowed
    before, after = (with_access(stack, egress, access).one(DATABASE).inputs for access in ("none", "ssm"))
    assert {key: after[key] for key in after if after[key] != before[key]} == {"iamDatabaseAuthenticationEnabled": True}


@everywhere
def test_nobody_may_talk_to_the_host(stack: str, egress: str) -> None:
    assert peers(with_access(stack, egress), IN, f"ev-population-{stack}-analyst") == set()


@everywhere
def test_it_has_no_key_no_public_address_and_the_smallest_size(stack: str, egress: str) -> None:
    given = with_access(stack, egress).one(INSTANCE, "analyst").inputs
    assert "keyName" not in given
    assert given["associatePublicIpAddress"] is False
    assert given["instanceType"] == "t4g.nano"
    assert given["ami"] == IMAGE
    assert given["metadataOptions"] == {"httpTokens": "required", "httpPutResponseHopLimit": 1}
    assert given["rootBlockDevice"]["encrypted"] is True
    assert given["creditSpecification"] == {"cpuCredits": "unlimited"}, "a t4g has no launch credits"
    assert "userData" not in given, "it could install nothing from where it stands"


@pytest.mark.parametrize("egress", ["nat-gateway", "nat-instance"])
def test_behind_a_nat_it_reaches_systems_manager_through_it_and_the_database(egress: str) -> None:
    recording = with_access("dev", egress)
    host = recording.one(INSTANCE, "analyst")
    assert host.inputs["subnetId"] == "ev-population-dev-private-ap-northeast-1a-id"
    assert peers(recording, OUT, "ev-population-dev-analyst") == {
        ("0.0.0.0/0", 443),
        ("ev-population-dev-database-id", 5432),
    }
    assert recording.names(ENDPOINT) == {"ev-population-dev-s3", "ev-population-dev-secrets"}, "paid for, not needed"
    route = recording.one("aws:ec2/route:Route", "private-ap-northeast-1a-out")
    assert route.urn in host.depends_on, "an agent that starts without a way out gives up for a while"


def test_without_a_nat_it_reaches_systems_manager_through_two_endpoints_and_nothing_else() -> None:
    recording = with_access("dev", "lambda-managed")
    host = recording.one(INSTANCE, "analyst")
    assert host.inputs["subnetId"] == "ev-population-dev-isolated-ap-northeast-1a-id"
    assert peers(recording, OUT, "ev-population-dev-analyst") == {
        ("ev-population-dev-ssm-id", 443),
        ("ev-population-dev-database-id", 5432),
    }
    assert peers(recording, IN, "ev-population-dev-ssm") == {("ev-population-dev-analyst-id", 443)}
    assert peers(recording, OUT, "ev-population-dev-ssm") == set()
    for service in ("ssm", "ssmmessages"):
        endpoint = recording.one(ENDPOINT, service)
        assert endpoint.urn in host.depends_on
        assert endpoint.inputs["serviceName"] == f"com.amazonaws.{REGION}.{service}"
        assert endpoint.inputs["privateDnsEnabled"] is True
        assert endpoint.inputs["subnetIds"] == ["ev-population-dev-isolated-ap-northeast-1a-id"], "one is enough"
        (statement,) = endpoint.document("policy")["Statement"]
        assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}
        assert all(action.startswith(f"{service}:") for action in statement["Action"])


@everywhere
def test_the_database_lets_in_the_host_and_the_load_functions(stack: str, egress: str) -> None:
    prefix = f"ev-population-{stack}"
    assert peers(with_access(stack, egress), IN, f"{prefix}-database") == {
        (f"{prefix}-load-id", 5432),
        (f"{prefix}-analyst-id", 5432),
    }


def test_its_role_may_offer_sessions_and_read_no_parameter() -> None:
    recording = with_access()
    assert granted(recording.one(ROLE_POLICY, "analyst").document("policy")) == {
        "ssm:UpdateInstanceInformation": {f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"},
        **{
            f"ssmmessages:{verb}{channel}Channel": {"*"}
            for verb in ("Create", "Open")
            for channel in ("Control", "Data")
        },
    }
    role = recording.one("aws:iam/role:Role", "analyst")
    assert role.document("assumeRolePolicy")["Statement"][0]["Principal"] == {"Service": "ec2.amazonaws.com"}
    attached = recording.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert role.inputs["name"] not in {item.inputs["role"] for item in attached}


@pytest.mark.parametrize("egress", EGRESSES)
def test_the_output_is_the_command_that_opens_the_tunnel(egress: str) -> None:
    command = shlex.split(with_access("dev", egress).outputs["analystCommand"])
    assert command == [
        *("aws", "ssm", "start-session", "--region", REGION, "--target", "ev-population-dev-analyst-id"),
        *("--document-name", "AWS-StartPortForwardingSessionToRemoteHost", "--parameters"),
        f"host=ev-population-dev.abc.{REGION}.rds.amazonaws.com,portNumber=5432,localPortNumber=15432",
    ]


def test_a_newer_image_does_not_replace_the_host_by_itself() -> None:
    host = with_access().one(INSTANCE, "analyst")
    assert host.ignore_changes == ("ami",)
    assert "ami" not in host.secret_inputs, "an image that counts as secret hides every diff"


def test_the_login_that_the_docs_make_may_read_the_answers_and_write_nothing(database: Database) -> None:
    page = (PROJECT / "docs" / "analysts.md").read_text()
    (statements,) = re.findall(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    with closing(database.connect()) as connection:
        migrate(connection)
        with connection.cursor() as cursor:
            # Never committed: roles belong to the server, which other tests use too.
            cursor.execute("CREATE ROLE rds_iam")
            cursor.execute(statements)
            cursor.execute("SELECT rolcanlogin, rolconnlimit, rolconfig FROM pg_roles WHERE rolname = 'alice'")
            assert cursor.fetchone() == (True, 5, ["statement_timeout=5min"])
            cursor.execute("SET ROLE alice")
            cursor.execute("SELECT count(*) FROM ev_by_county")
            assert cursor.fetchone() == (0,)
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("DELETE FROM electric_vehicle_us")
        connection.rollback()
