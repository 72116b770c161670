import logging
import os
import sys

from easel_api.errors import EaselError
from easel_inference.serving.launcher import Exit, Launcher
from easel_inference.serving.settings import Settings
from easel_inference.serving.state import State


def main() -> int:
    """`python -m easel_inference.serving`: the runtime container's command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        return Launcher(Settings.from_environment(os.environ), os.environ).run()
    except EaselError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        state = State(Settings.state_dir_of(os.environ))
        state.clear()
        state.failed(error)
        return Exit.WRONG


if __name__ == "__main__":
    sys.exit(main())
