"""Reads the configuration file; whatever is wrong with it is told with the field's path."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from easel_api.errors import EnvironmentFault
from easel_operator.core.configuration import Configuration


def load(path: Path) -> Configuration:
    """The configuration in a YAML file."""
    fix = "The chart writes this file from its values."
    try:
        return Configuration.model_validate(yaml.safe_load(path.read_text()) or {})
    except OSError as error:
        raise EnvironmentFault(
            "the configuration cannot be read", where=str(path), found=str(error.strerror)
        ) from error
    except yaml.YAMLError as error:
        raise EnvironmentFault("the configuration is no YAML", where=str(path), fix=fix) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        raise EnvironmentFault(first["msg"], where=where, found=str(first["input"]), fix=fix) from error
