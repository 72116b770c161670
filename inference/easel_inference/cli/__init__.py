"""The `easel` command: the main job on one machine, and checks that need no cluster.

    run        the whole job here: Triton, worker, pictures in a folder
    validate   what is wrong with a manifest, without a cluster
    doctor     what this machine lacks
    explain    who would make a job of a class, and at what price
    forecast   who makes how many of its items, by the plan alone
    compare    who can do a task, and at what price: of the catalogue, or of some files
    manifests  files to typed objects
    terminal   progress for people
    sheet      the contact sheet

Imports `jobs`, `artifacts`, `catalog` and `serving.local`; never torch or the engine: those run in the server's process. `main` is
the only place that turns an error into words and an exit code. Subcommands import what they need when they are called, so
that `easel --help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from easel_api.errors import EaselError, ExitCode

_CODES = """exit codes:
  0    done
  1    the job failed
  2    the input is wrong: a manifest, a picture, a name
  3    this machine or account lacks something: a tool, a port, disk space, credentials
  130  stopped with Ctrl-C; run it again and it goes on where it stopped

EASEL_DEBUG=1 shows the stack of an error."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(_dispatch(options))
    except EaselError as error:
        _debug()
        print("\n".join(f"easel: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("easel: stopped", file=sys.stderr)
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Who read our output has gone; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.DONE)
    except Exception as error:  # noqa: BLE001 - a traceback is for developers
        _debug()
        print(
            f"easel: a defect in easel itself: {type(error).__name__}: {error}. "
            "Run it again with EASEL_DEBUG=1 and report what it shows",
            file=sys.stderr,
        )
        return int(ExitCode.JOB_FAILED)


def _dispatch(options: argparse.Namespace) -> int:
    match options.command:
        case "run":
            from .run import run

            return run(options.files, options.out)
        case "validate":
            from .validate import validate

            return validate(options.files, local=options.local)
        case "explain":
            from .explain import explain

            return explain(options.files)
        case "compare":
            from .compare import compare

            return compare(options.task, options.files)
        case _:
            from .doctor import doctor

            return doctor()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="easel",
        description="Durable, declarative image and video generation.",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _command(commands, "run", "make what a GenerationJob asks for on this machine, without a cluster")
    run.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="YAML with a GenerationJob and the ModelDeployment it names; - is stdin",
    )
    run.add_argument(
        "--out",
        metavar="DIR",
        help="folder for the results (default: the job's S3 store with credentials from the environment; "
        "without one, easel-output/JOB)",
    )
    validate = _command(commands, "validate", "say what is wrong with manifests, without a cluster")
    validate.add_argument("files", nargs="+", metavar="FILE", help="YAML or JSON; - is stdin")
    validate.add_argument(
        "--local", action="store_true", help="as easel run takes them: file:// and a job without a store are fine"
    )
    explain = _command(
        commands, "explain", "say who would make a job of a class, at what price, and why no other would"
    )
    explain.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="YAML with a GenerationJob, its GenerationClass, and the Providers and ModelDeployments it names; - is stdin",
    )
    _command(commands, "doctor", "say what this machine lacks for easel run")
    compare = _command(commands, "compare", "say who can do a task, at what price and for how long still")
    compare.add_argument("--task", required=True, metavar="TASK", help="text-to-image, image-to-video, …")
    compare.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="YAML with the Providers and ModelDeployments to compare; - is stdin (default: the cloud models of the catalogue)",
    )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog=_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"easel {version('easel-operator')}"
    except PackageNotFoundError:
        return "easel (not installed)"


def _debug() -> None:
    if os.environ.get("EASEL_DEBUG") == "1":
        import traceback

        traceback.print_exc()
