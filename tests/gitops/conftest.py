"""Lets these tests import the views of the operator's unit tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "operator" / "support"))
