"""Where a stack's config comes from: the engine that runs the program, or the project's files where none does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import config as engine

from components.settings import NAMESPACE, Settings

SECRET_KEYS = ("appToken",)


def settings_of_this_run() -> Settings:
    """Return the settings that the engine passed to this program; raise SettingsError naming all that are wrong."""
    config: dict[str, str] = {**engine.get_config_env(), **engine.CONFIG.get()}
    clear = frozenset(key for key in SECRET_KEYS if not pulumi.runtime.is_config_secret(f"{NAMESPACE}:{key}"))
    return Settings.parse(config, clear_secrets=clear)


def load_stack_config(project_dir: Path, stack: str, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what `pulumi up` would pass to the program: Pulumi.yaml's defaults < Pulumi.<stack>.yaml < `overrides`.

    Keys are full (`ev-population:schedule`, `aws:region`); lists are JSON. An encrypted value is left out: only the
    stack's secrets provider can read it. Raises FileNotFoundError when there is no such project or stack.
    """
    project = yaml.safe_load((project_dir / "Pulumi.yaml").read_text())
    stack_file = yaml.safe_load((project_dir / f"Pulumi.{stack}.yaml").read_text()) or {}
    defaults = {key: declared["default"] for key, declared in project["config"].items() if "default" in declared}
    layers = (defaults, stack_file.get("config") or {}, overrides or {})
    return {
        key if ":" in key else f"{project['name']}:{key}": _as_pulumi_gives_it(value)
        for layer in layers
        for key, value in layer.items()
        if not (isinstance(value, dict) and "secure" in value)
    }


def _as_pulumi_gives_it(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
