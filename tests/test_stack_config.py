"""Config without an engine: the same values that `pulumi up` would pass."""

from pathlib import Path

import pytest

from components.stack_config import load_stack_config
from tests.pulumi_mocks import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with defaults of every type, and a stack that overrides some."""
    (tmp_path / "Pulumi.yaml").write_text(
        "name: p\nconfig:\n  text: {type: string, default: a}\n  number: {type: integer, default: 7}\n"
        "  flag: {type: boolean, default: true}\n  many: {type: array, default: [x, y]}\n  needed: {type: string}\n"
    )
    (tmp_path / "Pulumi.s.yaml").write_text(
        "config:\n  aws:region: r\n  p:number: 8\n  p:flag: false\n  p:token: {secure: abc}\n"
    )
    return tmp_path


def test_a_stack_file_goes_over_defaults_and_overrides_over_both(project: Path) -> None:
    assert load_stack_config(project, "s", {"p:text": "c", "many": '["z"]'}) == {
        "p:text": "c",
        "p:number": "8",
        "p:flag": "false",
        "p:many": '["z"]',
        "aws:region": "r",
    }


def test_lists_are_json_and_scalars_are_what_pulumi_makes_of_them(project: Path) -> None:
    (project / "Pulumi.s.yaml").write_text("")
    assert load_stack_config(project, "s") == {"p:text": "a", "p:number": "7", "p:flag": "true", "p:many": '["x", "y"]'}


def test_an_object_is_json_and_not_taken_for_an_encrypted_value(project: Path) -> None:
    (project / "Pulumi.s.yaml").write_text("config:\n  aws:assumeRole: {roleArn: r}\n  p:token: {secure: abc}\n")
    config = load_stack_config(project, "s")
    assert config["aws:assumeRole"] == '{"roleArn": "r"}'
    assert "p:token" not in config


def test_an_encrypted_value_is_left_out_for_only_the_engine_can_read_it(project: Path) -> None:
    assert "p:token" not in load_stack_config(project, "s")


def test_a_stack_without_a_file_is_refused(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Pulumi\.other\.yaml"):
        load_stack_config(project, "other")


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_stack_is_in_tokyo(stack: str) -> None:
    assert load_stack_config(PROJECT, stack)["aws:region"] == "ap-northeast-1"
