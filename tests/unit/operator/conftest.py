"""Lets these tests import `operator_views` and `operator_effects`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
