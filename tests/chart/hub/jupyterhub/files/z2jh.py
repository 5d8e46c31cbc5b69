"""What the JupyterHub chart's module of this name has: the values of the release."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

SECRET = Path("/usr/local/etc/jupyterhub/secret")


@cache
def _values() -> Any:
    return yaml.safe_load((SECRET / "values.yaml").read_text())


def get_name(name: str) -> str:
    return name  # the chart's own default: no prefix


def get_secret_value(key: str) -> str:
    return (SECRET / key).read_text()


def get_config(key: str, default: Any = None) -> Any:
    value = _values()
    for level in key.split("."):
        if not isinstance(value, dict) or level not in value:
            return default
        value = value[level]
    return value
