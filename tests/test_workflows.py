"""The workflows: who may do what, in which order, and for how long. Nothing else judges them before GitHub does."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.egress import INTERFACES_GONE
from tests.pulumi_mocks import PROJECT

WORKFLOWS = {path.stem: path for path in (PROJECT / ".github" / "workflows").glob("*.yml")}
TURNED_ON = "vars.PULUMI_BACKEND_URL != ''"
# The actions' releases that run on Node.js 24; GitHub removed Node.js 20 in September 2026.
# https://github.blog/changelog/2025-09-19-deprecation-of-node-20-on-github-actions-runners/
FIRST_MAJOR_ON_NODE_24 = {
    "actions/checkout": 5,
    "actions/setup-python": 6,
    "aws-actions/configure-aws-credentials": 6,
    "pulumi/actions": 7,
}
# How long the AWS provider waits for the slowest change there is, a major upgrade of the database.
# https://github.com/hashicorp/terraform-provider-aws/blob/v6.47.1/internal/service/rds/instance.go (Timeouts)
DATABASE_UPDATE_MINUTES = 80


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    loaded["on"] = loaded.pop(True)  # `on` is a boolean to YAML 1.1
    return loaded


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = workflow(name)["jobs"]
    return found


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name).values() for step in job.get("steps", [])]


def using(action: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the inputs of every step that uses an action, with the workflow's name."""
    return [
        (name, step.get("with", {}))
        for name in sorted(WORKFLOWS)
        for step in steps(name)
        if step.get("uses", "").startswith(f"{action}@")
    ]


def needed(name: str, job: str) -> set[str]:
    """Return every job that has to succeed before one starts."""
    direct = jobs(name)[job].get("needs", [])
    direct = [direct] if isinstance(direct, str) else direct
    return set(direct).union(*(needed(name, other) for other in direct))


def run(step: dict[str, Any], folder: Path, *, answer: str, status: int) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does, with a `gh` that gives this answer."""
    gh = folder / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\necho "{answer}"\nexit {status}\n')
    gh.chmod(0o755)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={"PATH": f"{folder}:/usr/bin:/bin", "GITHUB_REPOSITORY": "me/mine", "GITHUB_SHA": "a1b2"},
        capture_output=True,
        text=True,
        check=False,
    )


class TestPins:
    def test_every_action_is_pinned_by_its_commit_with_the_release_beside_it(self) -> None:
        lines = [line.strip() for path in WORKFLOWS.values() for line in path.read_text().splitlines()]
        used = [line.removeprefix("- ") for line in lines if re.match(r"(- )?uses: (?!\./)", line)]
        assert len(used) > 10
        for line in used:
            assert re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line

    def test_every_action_runs_on_node_24(self) -> None:
        text = "\n".join(path.read_text() for path in WORKFLOWS.values())
        used = set(re.findall(r"uses: ([\w-]+/[\w-]+)@\w+ # v(\d+)", text))
        assert {action for action, _ in used} == set(FIRST_MAJOR_ON_NODE_24)
        for action, major in used:
            assert int(major) >= FIRST_MAJOR_ON_NODE_24[action], f"{action} v{major}"

    def test_an_action_has_one_version_everywhere(self) -> None:
        text = "\n".join(path.read_text() for path in WORKFLOWS.values())
        used = re.findall(r"uses: ([\w-]+/[\w-]+)(@\w+ # \S+)", text)
        assert len(set(used)) == len({action for action, _ in used})

    def test_the_pulumi_cli_has_the_version_of_the_sdk(self) -> None:
        (sdk,) = re.findall(r"^pulumi==(\S+)$", (PROJECT / "requirements.txt").read_text(), re.MULTILINE)
        cli = using("pulumi/actions")
        assert {name for name, _ in cli} == {"up", "preview", "drift"}
        for name, inputs in cli:
            assert inputs["pulumi-version"] == sdk, f"{name}.yml: make lock writes it"


class TestDeployment:
    def test_waits_for_ci_and_prod_waits_for_dev(self) -> None:
        assert jobs("deploy")["ci"]["uses"] == "./.github/workflows/ci.yml"
        assert "workflow_call" in workflow("ci")["on"]
        assert needed("deploy", "dev") == {"ci"}
        assert needed("deploy", "prod") == {"ci", "dev", "protected"}

    def test_a_commit_on_main_is_tested_once(self) -> None:
        assert "push" not in workflow("ci")["on"], "deploy.yml calls it for main"
        commands = [step.get("run", "") for step in steps("up")]
        for command in commands:
            assert not re.search(r"\b(test|test-all|check)\b|\.ci/run", command), command

    def test_a_run_that_waits_for_approval_holds_no_concurrency_group(self) -> None:
        assert "concurrency" not in workflow("deploy")
        assert "concurrency" not in workflow("up")
        assert "concurrency" not in jobs("up")["up"]
        assert "concurrency" not in jobs("deploy")["prod"], "the environment prod asks for an approval"

    def test_no_update_is_cut_short_by_a_newer_one(self) -> None:
        assert jobs("deploy")["dev"]["concurrency"] == {"group": "deploy-dev", "cancel-in-progress": False}

    @pytest.mark.parametrize(("name", "job"), [("deploy", "dev"), ("drift", "drift"), ("preview", "preview")])
    def test_a_fork_without_the_variables_skips_it(self, name: str, job: str) -> None:
        condition = jobs(name)[job]["if"]
        assert condition.startswith(TURNED_ON)
        assert "always()" not in condition

    def test_and_with_dev_skipped_nothing_reaches_prod(self) -> None:
        for job in ("protected", "prod"):
            assert "dev" in needed("deploy", job)
            assert "if" not in jobs("deploy")[job], "a condition of its own could run it after a skipped job"

    def test_ci_runs_everywhere(self) -> None:
        assert "if" not in jobs("deploy")["ci"]
        assert "if" not in jobs("ci")["prove"]

    @pytest.mark.parametrize(
        ("answer", "status", "passes"),
        [
            ("required_reviewers", 0, True),
            ("branch_policy required_reviewers", 0, True),
            ("branch_policy", 0, False),
            ("", 0, False),
            ("HTTP 404: Not Found", 1, False),
        ],
    )
    def test_prod_needs_an_environment_that_asks_for_reviewers(
        self, tmp_path: Path, answer: str, status: int, *, passes: bool
    ) -> None:
        job = jobs("deploy")["protected"]
        assert "environment" not in job, "naming it would create it, unprotected"
        assert job["permissions"] == {"actions": "read"}
        (step,) = job["steps"]
        done = run(step, tmp_path, answer=answer, status=status)
        assert "api repos/me/mine/environments/prod" in (tmp_path / "asked").read_text()
        assert (done.returncode == 0) == passes
        assert ("::error::" in done.stdout) != passes

    @pytest.mark.parametrize(("newest", "status", "passes"), [("a1b2", 0, True), ("c3d4", 0, False), ("", 1, False)])
    def test_an_approval_of_an_old_commit_undoes_nothing(
        self, tmp_path: Path, newest: str, status: int, *, passes: bool
    ) -> None:
        first = steps("up")[0]
        assert first["if"] == "inputs.stack == 'prod'"
        done = run(first, tmp_path, answer=newest, status=status)
        assert "api repos/me/mine/commits/main" in (tmp_path / "asked").read_text()
        assert (done.returncode == 0) == passes

    def test_every_stack_is_deployed_in_its_own_environment_with_the_policies(self) -> None:
        assert jobs("up")["up"]["environment"] == "${{ inputs.stack }}"
        called = [job["with"]["stack"] for job in jobs("deploy").values() if "up.yml" in job.get("uses", "")]
        assert called == ["dev", "prod"]
        ((_, inputs),) = [(name, inputs) for name, inputs in using("pulumi/actions") if name == "up"]
        assert inputs["command"] == "up"
        assert inputs["policyPacks"] == "policy"


class TestTime:
    def test_an_update_has_longer_than_the_provider_waits_for_its_slowest_changes(self) -> None:
        minutes = jobs("up")["up"]["timeout-minutes"]
        left_by_lambda = int(str(INTERFACES_GONE.delete).removesuffix("m"))
        # The database first, then a security group and a subnet that Lambda has left.
        assert minutes >= DATABASE_UPDATE_MINUTES + 2 * left_by_lambda
        assert minutes <= 360, "GitHub's own limit"

    def test_the_role_lasts_as_long_as_the_job(self) -> None:
        ((_, inputs),) = [
            (name, inputs) for name, inputs in using("aws-actions/configure-aws-credentials") if name == "up"
        ]
        assert inputs["role-duration-seconds"] >= jobs("up")["up"]["timeout-minutes"] * 60
        assert f"--max-session-duration {inputs['role-duration-seconds']}" in (PROJECT / "docs/deploy.md").read_text()

    @pytest.mark.parametrize("name", sorted(WORKFLOWS))
    def test_every_job_has_a_limit(self, name: str) -> None:
        for job, content in jobs(name).items():
            assert "uses" in content or content["timeout-minutes"] > 0, job


class TestIdentity:
    def test_only_who_updates_gets_the_deploy_role(self) -> None:
        roles = {name: inputs["role-to-assume"] for name, inputs in using("aws-actions/configure-aws-credentials")}
        assert roles == {
            "up": "${{ vars.AWS_DEPLOY_ROLE_ARN }}",
            "drift": "${{ vars.AWS_PREVIEW_ROLE_ARN }}",
            "preview": "${{ vars.AWS_PREVIEW_ROLE_ARN }}",
        }

    @pytest.mark.parametrize("name", sorted(WORKFLOWS))
    def test_a_workflow_reads_unless_a_job_says_otherwise(self, name: str) -> None:
        assert workflow(name)["permissions"] == {"contents": "read"}
        for job, content in jobs(name).items():
            writes = {scope for scope, level in content.get("permissions", {}).items() if level == "write"}
            assert writes <= {"id-token", "pull-requests"}, job
            assert "pull-requests" not in writes or name == "preview"


def test_dependabot_knows_every_folder_with_a_lock_and_the_actions() -> None:
    updates = yaml.safe_load((PROJECT / ".github" / "dependabot.yml").read_text())["updates"]
    by_kind = {update["package-ecosystem"]: update for update in updates}
    assert set(by_kind["pip"]["directories"]) == {f"/{path.parent}".removesuffix(".") for path in _locks()}
    assert by_kind["github-actions"]["directory"] == "/"


def _locks() -> list[Path]:
    return [
        path.relative_to(PROJECT)
        for path in (*PROJECT.glob("requirements*.txt"), *PROJECT.glob("*/requirements*.txt"))
        if "make lock" in path.read_text()
    ]
