"""The functions: what each is given, and exactly what each may do."""

import json

import pytest

from tests.pulumi_mocks import (
    ACCOUNT,
    PROJECT,
    REGION,
    STACK_VARIANTS,
    Resource,
    granted,
    record_stack,
    statements,
    via,
)

FUNCTION = "aws:lambda/function:Function"
POLICY = "aws:iam/rolePolicy:RolePolicy"
FUNCTIONS = ("extract", "stage", "publish")

BUCKET = "arn:aws:s3:::ev-population-dev-raw-1a2b3c4"
RAW = f"{BUCKET}/raw_data/*"
MANIFESTS = f"{BUCKET}/raw_data/*/manifest.json"
PUBLISHED = f"{BUCKET}/published.json"
REPORTS = f"{BUCKET}/reports/*"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222"
PIPELINE_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ev-population-dev-pipeline-1a2b3c4-AbCdEf"
TOKEN_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ev-population-dev-app-token-1a2b3c4-AbCdEf"
CREDENTIALS = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-0a1b-AbCdEf"


def function(role: str, stack: str = "dev", **overrides: str) -> Resource:
    """Return one of a stack's functions."""
    return record_stack(stack, **overrides).one(FUNCTION, role)


def environment(role: str, **overrides: str) -> dict[str, str]:
    """Return the environment of one of dev's functions."""
    variables: dict[str, str] = function(role, **overrides).inputs["environment"]["variables"]
    return variables


def may(role: str, **overrides: str) -> dict[str, set[str]]:
    """Return what one of dev's functions may do beside logs, traces and being in the VPC, which all share."""
    allowed = granted(record_stack("dev", **overrides).one(POLICY, role).document("policy"))
    return {action: on for action, on in allowed.items() if action.split(":")[0] not in ("logs", "xray", "ec2")}


def logs_arn(role: str) -> str:
    """Return the ARN of the streams of a function's log group."""
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/ev-population-dev-{role}:*"


class TestWhatEachMayDo:
    def test_extract_writes_raw_data_and_reads_what_is_published(self) -> None:
        assert may("extract") == {
            "s3:GetObject": {RAW, PUBLISHED},
            "s3:PutObject": {RAW},
            "s3:ListBucket": {BUCKET},
            "kms:Decrypt": {via(KEY, "s3")},
            "kms:GenerateDataKey": {via(KEY, "s3")},
        }

    def test_stage_reads_raw_data_and_the_way_to_the_database(self) -> None:
        assert may("stage") == {
            "s3:GetObject": {RAW},
            "s3:ListBucket": {BUCKET},
            "secretsmanager:GetSecretValue": {PIPELINE_SECRET, CREDENTIALS},
            "kms:Decrypt": {via(KEY, "s3", "secretsmanager")},
        }

    def test_publish_also_writes_what_is_published_and_reports_and_withdraws_a_manifest(self) -> None:
        assert may("publish") == {
            "s3:GetObject": {RAW, PUBLISHED},
            "s3:PutObject": {PUBLISHED, REPORTS},
            "s3:DeleteObject": {MANIFESTS},
            "s3:ListBucket": {BUCKET},
            "secretsmanager:GetSecretValue": {PIPELINE_SECRET, CREDENTIALS},
            "kms:Decrypt": {via(KEY, "secretsmanager"), via(KEY, "s3")},
            "kms:GenerateDataKey": {via(KEY, "s3")},
        }

    def test_the_endpoint_of_s3_lets_pass_all_that_the_functions_in_the_vpc_may_do_there(self) -> None:
        (endpoint,) = (
            item
            for item in record_stack("dev").of("aws:ec2/vpcEndpoint:VpcEndpoint")
            if item.inputs["serviceName"].endswith(".s3")
        )
        passes = set(granted(endpoint.document("policy")))
        for role in ("stage", "publish"):
            wanted = {action for action in may(role) if action.startswith("s3:")}
            assert wanted
            assert wanted <= passes, f"{role} would be refused on its way"

    def test_extract_reads_the_app_tokens_secret_only_when_there_is_one(self) -> None:
        with_token = may("extract", appToken="example-app-token")
        assert with_token.pop("secretsmanager:GetSecretValue") == {TOKEN_SECRET}
        assert with_token.pop("kms:Decrypt") == {via(KEY, "s3"), via(KEY, "secretsmanager")}
        without = may("extract")
        del without["kms:Decrypt"]
        assert with_token == without

    @pytest.mark.parametrize("role", FUNCTIONS)
    def test_each_writes_to_its_own_log_group_and_makes_none(self, role: str) -> None:
        allowed = granted(record_stack("dev").one(POLICY, role).document("policy"))
        logs = {action: on for action, on in allowed.items() if action.startswith("logs:")}
        assert logs == {"logs:CreateLogStream": {logs_arn(role)}, "logs:PutLogEvents": {logs_arn(role)}}

    @pytest.mark.parametrize("role", FUNCTIONS)
    def test_each_sends_its_traces(self, role: str) -> None:
        allowed = granted(record_stack("dev").one(POLICY, role).document("policy"))
        traces = {action: on for action, on in allowed.items() if action.startswith("xray:")}
        assert traces == {"xray:PutTraceSegments": {"*"}, "xray:PutTelemetryRecords": {"*"}}

    @pytest.mark.parametrize("role", FUNCTIONS)
    def test_lambda_may_put_it_into_the_vpc_but_its_own_code_may_not(self, role: str) -> None:
        policy = record_stack("dev").one(POLICY, role).document("policy")
        (denied,) = statements(policy, "Deny")
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:ev-population-dev-{role}"
        assert denied["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
        allowed = {action: on for action, on in granted(policy).items() if action.startswith("ec2:")}
        assert allowed == {
            "ec2:CreateNetworkInterface": {"*"},
            "ec2:DescribeNetworkInterfaces": {"*"},
            "ec2:DescribeSubnets": {"*"},
            "ec2:DeleteNetworkInterface": {"*"},
            "ec2:AssignPrivateIpAddresses": {"*"},
            "ec2:UnassignPrivateIpAddresses": {"*"},
        }
        assert set(denied["Action"]) == set(allowed)

    def test_outside_the_vpc_it_needs_no_such_permission(self) -> None:
        policy = record_stack("dev", egress="lambda-managed").one(POLICY, "extract").document("policy")
        assert not [action for action in granted(policy) if action.startswith("ec2:")]
        assert statements(policy, "Deny") == []

    @pytest.mark.parametrize("role", FUNCTIONS)
    def test_each_has_a_role_of_its_own_that_only_lambda_assumes(self, role: str) -> None:
        given = function(role).inputs
        assert given["role"] == f"arn:aws:iam::{ACCOUNT}:role/ev-population-dev-{role}"
        (trust,) = record_stack("dev").one("aws:iam/role:Role", role).document("assumeRolePolicy")["Statement"]
        assert trust["Principal"] == {"Service": "lambda.amazonaws.com"}


class TestWhatEachIsGiven:
    def test_names_are_as_they_were_deployed(self) -> None:
        names = {item.inputs["name"] for item in record_stack("prod").of(FUNCTION)}
        assert names == {"ev-population-prod-extract", "ev-population-prod-stage", "ev-population-prod-publish"}

    def test_extract_is_told_the_source(self) -> None:
        assert environment("extract") == {
            "STACK": "dev",
            "POWERTOOLS_SERVICE_NAME": "extract",
            "POWERTOOLS_METRICS_NAMESPACE": "ev-population-dev",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "SOURCE_URL": "https://data.wa.gov",
            "DATASET_ID": "f6w7-q2d2",
            "PART_ROWS": "25000",
            "MAX_SOURCE_AGE_DAYS": "90",
        }

    def test_the_token_is_named_never_shown(self) -> None:
        recording = record_stack("dev", appToken="example-app-token")
        assert environment("extract", appToken="example-app-token")["APP_TOKEN_SECRET_ARN"] == TOKEN_SECRET
        version = recording.one("aws:secretsmanager/secretVersion:SecretVersion", "app-token")
        assert version.inputs["secretString"] == "example-app-token"
        assert "secretString" in version.secret_inputs, "encrypted in the stack's state"
        others = [item for item in recording.resources if item is not version]
        assert not any("example-app-token" in repr(item.inputs) for item in others)
        assert "example-app-token" not in repr(recording.outputs)

    def test_the_load_functions_verify_the_database_with_the_bundle_that_they_carry(self) -> None:
        verify = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/var/task/rds-global-bundle.pem"}
        assert environment("stage") == {
            "STACK": "dev",
            "POWERTOOLS_SERVICE_NAME": "stage",
            "POWERTOOLS_METRICS_NAMESPACE": "ev-population-dev",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            **verify,
        }
        guards = {"MAX_REJECTED_FRACTION": "0.01", "MAX_SHRINK_FRACTION": "0.1"}
        assert environment("publish") == {**environment("stage"), "POWERTOOLS_SERVICE_NAME": "publish", **guards}
        assert (PROJECT / "handlers" / "rds-global-bundle.pem").exists(), "the archive is made of this folder"

    def test_every_function_is_the_handlers_with_the_one_layer_of_its_side(self) -> None:
        recording = record_stack("dev")
        handlers = {item.inputs["handler"]: item.inputs["layers"] for item in recording.of(FUNCTION)}
        layer = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:ev-population-dev"
        assert handlers == {
            "extract.handler": [f"{layer}-extract:1"],
            "load.stage": [f"{layer}-load:1"],
            "load.publish": [f"{layer}-load:1"],
        }
        assert {item.inputs["code"].rsplit("/", 1)[1] for item in recording.of(FUNCTION)} == {"handlers.zip"}
        layers = {
            item.inputs["layerName"]: item.inputs["code"].rsplit("/", 1)[1]
            for item in recording.of("aws:lambda/layerVersion:LayerVersion")
        }
        assert layers == {"ev-population-dev-extract": "extract.zip", "ev-population-dev-load": "load.zip"}

    @pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
    def test_functions_and_layers_are_for_the_processor_in_config(self, architecture: str) -> None:
        recording = record_stack("dev", lambdaArchitecture=architecture)
        assert {tuple(item.inputs["architectures"]) for item in recording.of(FUNCTION)} == {(architecture,)}
        layers = recording.of("aws:lambda/layerVersion:LayerVersion")
        assert {tuple(item.inputs["compatibleArchitectures"]) for item in layers} == {(architecture,)}
        assert {item.inputs["runtime"] for item in recording.of(FUNCTION)} == {"python3.12"}
        assert (PROJECT / ".python-version").read_text().strip() == "3.12", "what is tested is what runs"

    @pytest.mark.parametrize(
        ("role", "megabytes", "seconds"), [("extract", 512, 900), ("stage", 1024, 300), ("publish", 1024, 900)]
    )
    def test_each_has_the_memory_and_time_that_docs_scale_and_cost_are_about(
        self, role: str, megabytes: int, seconds: int
    ) -> None:
        given = function(role).inputs
        assert given["memorySize"] == megabytes
        assert given["timeout"] == seconds <= 900, "Lambda gives no more"
        assert "reservedConcurrentExecutions" not in given

    @pytest.mark.parametrize("role", FUNCTIONS)
    def test_each_is_traced_and_logs_json_to_a_group_that_was_there_before_it(self, role: str) -> None:
        recording = record_stack("dev")
        item = recording.one(FUNCTION, role)
        assert item.inputs["tracingConfig"] == {"mode": "Active"}
        group = recording.one("aws:cloudwatch/logGroup:LogGroup", f"dev-{role}")
        assert group.inputs["name"] == f"/aws/lambda/ev-population-dev-{role}"
        assert item.inputs["loggingConfig"] == {"logFormat": "JSON", "logGroup": group.inputs["name"]}
        assert group.urn in item.depends_on

    @pytest.mark.parametrize("role", FUNCTIONS)
    def test_none_is_made_before_it_may_do_what_it_must(self, role: str) -> None:
        recording = record_stack("dev")
        assert recording.one(POLICY, role).urn in recording.one(FUNCTION, role).depends_on


@pytest.mark.parametrize(("stack", "egress"), STACK_VARIANTS)
def test_extract_is_private_or_outside_and_the_load_functions_are_isolated(stack: str, egress: str) -> None:
    recording = record_stack(stack, egress=egress)
    extract = recording.one(FUNCTION, "extract").inputs.get("vpcConfig")
    if egress == "lambda-managed":
        assert extract is None
    else:
        assert extract is not None
        assert all("-private-" in subnet for subnet in extract["subnetIds"])
        assert extract["securityGroupIds"] == [f"ev-population-{stack}-extract-id"]
    for role in ("stage", "publish"):
        place = recording.one(FUNCTION, role).inputs["vpcConfig"]
        assert all("-isolated-" in subnet for subnet in place["subnetIds"])
        assert len(place["subnetIds"]) == (2 if stack == "dev" else 3)
        assert place["securityGroupIds"] == [f"ev-population-{stack}-load-id"]


def test_no_environment_holds_a_secret() -> None:
    environments = [item.inputs["environment"] for item in record_stack("prod").of(FUNCTION)]
    assert "password" not in json.dumps(environments).lower()
