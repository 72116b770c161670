"""The configuration file and the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from easel_api.errors import EnvironmentFault
from easel_operator.shell import settings
from easel_operator.shell.logs import KeyValue

GOOD = """
namespaces: [art]
leaseNamespace: easel-system
workerImage: docker.io/easel/operator:dev
runtimeProfiles: {default: {image: docker.io/easel/runtime:dev}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "operator.yaml"
    path.write_text(text)
    return path


def test_what_the_chart_writes_is_read(tmp_path: Path) -> None:
    configuration = settings.load(written(tmp_path, GOOD))
    assert configuration.lease_name == "easel-operator"
    assert configuration.runtime_profiles["default"].image_pull_policy == "IfNotPresent"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "colour: red\n", "colour"),
        (GOOD.replace("[art]", "[]"), "namespaces"),
        (GOOD.replace("default: {", "default: {imagePullPolicy: Maybe, "), "runtimeProfiles.default.imagePullPolicy"),
        ("namespaces: [art", "no YAML"),
        ("", "namespaces"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(EnvironmentFault, match=told):
        settings.load(written(tmp_path, text))


def test_a_log_line_is_key_and_value() -> None:
    record = logging.LogRecord("easel", logging.INFO, "f", 1, 'said "%s"', ("hello there",), None)
    line = KeyValue().format(record)
    assert "level=info logger=easel" in line
    assert line.endswith('msg="said \\"hello there\\""')
