"""`python -m easel_operator --config FILE`: exit code 0 after SIGTERM, 3 when it cannot work here, 1 when it must start anew."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import sys
from pathlib import Path

from easel_api.errors import EaselError, ExitCode
from easel_operator.core.configuration import Configuration

GARBAGE_COLLECTION = (50_000, 20, 1000)
"""Allocations, and collections of each younger generation, between two collections. Python's own 700, 10 and 10 spend 40 % of the
processor time of a start with 10,000 jobs on a cache in which nothing is garbage: objects refer to no owner."""
DEFAULT_CONFIG = "/etc/easel/operator.yaml"
RESTART = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the operator until it is told to stop."""
    from easel_operator.shell import logs, settings

    options = _parser().parse_args(arguments)
    logs.set_up(options.log_level)
    gc.set_threshold(*GARBAGE_COLLECTION)
    try:
        configuration = settings.load(options.config)
        asyncio.run(_run(configuration))
    except EaselError as error:
        logging.getLogger("easel_operator").error("%s", error)
        return int(error.exit_code) if error.exit_code is ExitCode.ENVIRONMENT else RESTART
    except Exception:  # the last resort: Kubernetes starts the process anew
        logging.getLogger("easel_operator").exception("must start anew")
        return RESTART
    return 0


async def _run(configuration: Configuration) -> None:
    from easel_operator.adapters.kube.transport import Transport
    from easel_operator.adapters.metrics import PrometheusMetrics
    from easel_operator.shell.process import Operator

    transport = await Transport.connect(configuration.requests_per_second)
    metrics = PrometheusMetrics()
    metrics.serve(configuration.metrics_port)
    try:
        await Operator(configuration, transport, metrics).run()
    finally:
        await transport.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="easel_operator", description="The Easel operator.")
    config = os.environ.get("EASEL_OPERATOR_CONFIG", DEFAULT_CONFIG)
    parser.add_argument("--config", type=Path, default=Path(config), help=f"configuration file (default {config})")
    parser.add_argument("--log-level", default=os.environ.get("EASEL_LOG_LEVEL", "info"), help="debug, info, warning")
    return parser


if __name__ == "__main__":
    sys.exit(main())
