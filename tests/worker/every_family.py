"""What tests have in common that go through the subjects of all wire families."""

from __future__ import annotations

import pytest
from easel_emulators.subjects import subjects

MARKS = [
    pytest.mark.apiserver, pytest.mark.engine, pytest.mark.s3, pytest.mark.timeout(900),
    # The stores behind some emulators are built by then.
    pytest.mark.usefixtures("gcs_program", "azurite_program"),
]  # fmt: skip

SUBJECTS = {subject.title: subject for subject in subjects()}
AT_A_TIME = 6
"""Families; most of the time is spent waiting."""
