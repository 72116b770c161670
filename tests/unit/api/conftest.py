"""Lets these tests import `api_manifests`, which the tests on a real API server use too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
