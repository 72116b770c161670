"""Lets these tests import `routing_views`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
