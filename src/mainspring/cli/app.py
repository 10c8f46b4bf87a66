"""The application object, and how an error becomes a message and an exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mainspring.domain.errors import MainspringError

if TYPE_CHECKING:
    from mainspring.settings.load import LoadedProject

_ORDER = (
    "init", "check", "train", "run", "up", "status", "predict", "score", "logs", "labels", "drift", "skew", "performance",
    "alerts", "notify", "backtest", "retrain", "rollout", "ledger", "adopt", "data", "config", "schema", "doctor", "gc",
)  # fmt: skip


class _InOrder(TyperGroup):
    """Commands in the order in which a new user needs them, then the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names as `--help` lists them."""
        names = super().list_commands(ctx)
        return [*(name for name in _ORDER if name in names), *(name for name in names if name not in _ORDER)]


app = typer.Typer(
    name="mainspring",
    cls=_InOrder,
    help="Keeps a machine-learning model wound up: data, features, training, serving, drift, retraining, as one loop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Project = Annotated[
    Path | None, typer.Option("--project", "-C", help="The project folder. Default: this folder or the nearest above.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def run(*commands: ModuleType) -> None:
    """Run the command line; `commands` are the modules that registered themselves by being imported."""
    del commands
    try:
        app()
    except MainspringError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


def load(project: Path | None) -> LoadedProject:
    """The project in `project`, or in this folder or the nearest above."""
    from mainspring.settings.load import load_project

    return load_project(folder_of(project))


def folder_of(project: Path | None) -> Path:
    """`project`, or this folder or the nearest above that is one."""
    from mainspring.settings.load import find_project

    return project if project is not None else find_project(Path.cwd())


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"mainspring {installed('mainspring')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
