"""The command line: `python -m easel_cluster up|down|status|tools|images|prune|demo`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from easel_api.errors import EaselError, ExitCode
from easel_cluster import apionly, bases, cluster, images, status, tools
from easel_cluster.layout import State, default_state_folder
from easel_cluster.tools import say


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an error is one line on standard error and an exit code, never a traceback."""
    asked = _parser().parse_args(arguments)
    try:
        asked.run(asked)
    except EaselError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return int(ExitCode.DONE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easel_cluster", description="A real Kubernetes on this machine, for tests and demos."
    )
    parser.add_argument(
        "--dir", type=Path, help="the cluster's folder (default: EASEL_CLUSTER_DIR, or `cluster` in the cache)"
    )
    commands = parser.add_subparsers(required=True)
    up = commands.add_parser("up", help="start what is missing")
    up.add_argument("--api-only", action="store_true", help="etcd and an API server on loopback; needs no root")
    up.add_argument("--port", type=int, help="the API server's port (with --api-only; default: a free one)")
    up.add_argument(
        "--gpus", type=int, default=cluster.GPUS, help="GPUs that the node says it has (default: %(default)s)"
    )
    up.set_defaults(run=_up)
    commands.add_parser("down", help="stop everything and leave the machine as it was").set_defaults(run=_down)
    commands.add_parser("status", help="say what runs").set_defaults(run=_status)
    build = commands.add_parser("tools", help="build the programs that are missing")
    build.add_argument("names", nargs="*", help=f"all unless named: {', '.join(tools.TOOLS)}")
    build.set_defaults(run=_tools)
    images_ = commands.add_parser("images", help="build the project's images and load them into the cluster that is up")
    images_.add_argument("targets", nargs="*", help=f"both unless named: {', '.join(images.TARGETS)}")
    images_.set_defaults(run=_images)
    prune = commands.add_parser(
        "prune", help="delete cached programs and base images that this checkout does not ask for"
    )
    prune.set_defaults(run=_prune)
    demo = commands.add_parser("demo", help="the main job by helm and kubectl, its pictures in a local folder")
    demo.add_argument(
        "--out", type=Path, default=Path("easel-output", "cluster"), help="the folder (default: %(default)s)"
    )
    demo.set_defaults(run=_demo)
    return parser


def _state(asked: argparse.Namespace) -> State:
    if asked.dir:
        return State(asked.dir.absolute())
    return State(default_state_folder())


def _up(asked: argparse.Namespace) -> None:
    if asked.api_only:
        server = apionly.start_api_server(_api_only(_state(asked)), port=asked.port)
        say(f"up: export KUBECONFIG={server.kubeconfig}")
    else:
        cluster.up(_state(asked), gpus=asked.gpus)


def _down(asked: argparse.Namespace) -> None:
    state = _state(asked)
    for each in (_api_only(state), state):
        cluster.down(each)


def _api_only(state: State) -> State:
    # Apart from the node's folder: both may be up at once.
    return State(state.root.with_name(f"{state.root.name}-api"))


def _status(asked: argparse.Namespace) -> None:
    state = _state(asked)
    for each in (_api_only(state), state):
        for line in status.lines(each):
            say(line)


def _tools(asked: argparse.Namespace) -> None:
    for name, path in tools.ensure(asked.names or tools.TOOLS).items():
        say(f"{name} {path}")


def _images(asked: argparse.Namespace) -> None:
    running = cluster.attach(_state(asked))
    if running is None:
        say("no cluster is up: the images are built, and loaded by the next `images` after `up`")
    images.build_and_load(running, asked.targets or images.TARGETS)


def _prune(_: argparse.Namespace) -> None:
    for name in (*tools.forget_others(), *bases.forget_others()):
        say(f"deleted {name}")


def _demo(asked: argparse.Namespace) -> None:
    # Built on top of this package; the launcher itself knows nothing of what runs on its cluster.
    from easel_installed import demo

    demo.show(asked.out)


if __name__ == "__main__":
    sys.exit(main())
