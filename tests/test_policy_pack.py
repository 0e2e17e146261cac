"""The policy pack as Pulumi runs it: a process of its own environment that judges resources over gRPC."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import uv
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policy import tokens
from policy.rules import RULES, STACK_RULES
from tests.pulumi_mocks import PROJECT, Recording, record_stack

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("policy-pack")]

# What the engine sends for a string that a preview cannot know yet.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter of an environment with the pack's own pinned packages; made once."""
    lock = PROJECT / "policy" / "requirements.txt"
    venv = PROJECT / ".build" / f"policy-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    found = venv / "bin" / "python"
    if not (venv / "ready").exists():
        uv_command = uv.find_uv_bin()
        subprocess.run([uv_command, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True)
        subprocess.run([uv_command, "pip", "install", "--quiet", "--python", found, "-r", lock], check=True)
        (venv / "ready").touch()
    return found


@pytest.fixture(scope="module")
def analyzer(python: Path) -> Iterator[Any]:
    """Start the pack as the engine does for stack prod, and give the client that the engine has."""
    command = [str(python), "-u", "-m", "pulumi.policy", "127.0.0.1:0", str(PROJECT / "policy")]
    stack = {"PULUMI_PROJECT": "ev-population", "PULUMI_STACK": "prod", "PULUMI_DRY_RUN": "true"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=PROJECT / "policy", env=os.environ | stack
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the pack ended before it named its port"
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield analyzer_pb2_grpc.AnalyzerStub(channel)
        finally:
            process.kill()


def properties(inputs: Any) -> struct_pb2.Struct:
    """Return inputs as the engine sends them."""
    sent = struct_pb2.Struct()
    json_format.ParseDict(json.loads(json.dumps(inputs)), sent)
    return sent


def judged(analyzer: Any, typ: str, name: str, inputs: Any, *, protect: bool = False) -> list[Any]:
    """Return what the pack says of a resource."""
    answer = analyzer.Analyze(
        analyzer_pb2.AnalyzeRequest(
            type=typ,
            name=name,
            urn=f"urn:pulumi:prod::ev-population::{typ}::{name}",
            properties=properties(inputs),
            options=analyzer_pb2.AnalyzerResourceOptions(protect=protect),
        )
    )
    return list(answer.diagnostics)


def whole(recording: Recording, *, without: str = "") -> analyzer_pb2.AnalyzeStackRequest:
    """Return a recording as the engine shows a whole stack."""
    return analyzer_pb2.AnalyzeStackRequest(
        resources=[
            analyzer_pb2.AnalyzerResource(
                type=item.typ, name=item.name, urn=item.urn, properties=properties(dict(item.inputs))
            )
            for item in recording.resources
            if item.typ != without
        ]
    )


def test_it_has_a_mandatory_policy_for_every_rule(analyzer: Any) -> None:
    info = analyzer.GetAnalyzerInfo(empty_pb2.Empty())
    assert info.name == "ev-population"
    assert {policy.name: policy.description for policy in info.policies} == {
        **{rule.name: rule.says for rule in RULES},
        **{rule.name: rule.says for rule in STACK_RULES},
    }
    assert {policy.enforcementLevel for policy in info.policies} == {analyzer_pb2.MANDATORY}


def test_it_finds_nothing_to_say_of_prod(analyzer: Any) -> None:
    recording = record_stack("prod")
    for item in recording.resources:
        said = judged(analyzer, item.typ, item.name, dict(item.inputs), protect=item.protect)
        assert not said, f"{item.name}: {said}"
    assert not list(analyzer.AnalyzeStack(whole(recording)).diagnostics)


def test_it_refuses_what_the_rules_refuse_and_says_why(analyzer: Any) -> None:
    database = dict(record_stack("prod").one(tokens.DATABASE).inputs)
    (said,) = judged(analyzer, tokens.DATABASE, "db", database | {"publiclyAccessible": True}, protect=True)
    assert said.policyName == "database-private"
    assert said.enforcementLevel == analyzer_pb2.MANDATORY
    assert "publiclyAccessible is True, it must be False" in said.message
    (said,) = judged(analyzer, tokens.DATABASE, "db", database | {"multiAz": False}, protect=True)
    assert said.policyName == "recoverable", "the pack knows that the stack is prod"
    (said,) = judged(analyzer, tokens.DATABASE, "db", database, protect=False)
    assert "not protected" in said.message, "the pack sees the resource's options"
    (said,) = analyzer.AnalyzeStack(whole(record_stack("prod"), without=tokens.BUCKET_VERSIONING)).diagnostics
    assert said.policyName == "bucket-guarded"


def test_what_a_preview_does_not_know_yet_is_said_and_not_taken_for_a_violation(analyzer: Any) -> None:
    said = judged(analyzer, tokens.BUCKET_POLICY, "raw", {"bucket": UNKNOWN, "policy": UNKNOWN})
    assert said, "that a rule could not be judged is told"
    assert {what.enforcementLevel for what in said} == {analyzer_pb2.ADVISORY}
    assert all("can't be known during preview" in what.message for what in said)


def test_the_pack_names_the_environment_that_make_builds_for_it() -> None:
    pack = (PROJECT / "policy" / "PulumiPolicy.yaml").read_text()
    assert "virtualenv: .venv" in pack
    assert "policy/.venv/.ready:" in (PROJECT / "Makefile").read_text()
