"""The command line: parses, calls, prints. No decision is taken here.

Every module below registers its commands on `cli.app.app`; what a command needs is imported inside it, so that
`mainspring --help` stays quick.
"""


def main() -> None:
    """Entry point of `mainspring`."""
    from mainspring.cli import (
        alert_commands,
        backtest_commands,
        batch_commands,
        demo_commands,
        keeping_commands,
        label_commands,
        loop_commands,
        model_commands,
        performance_commands,
        project_commands,
        serving_commands,
        skew_commands,
    )
    from mainspring.cli.app import run
    from mainspring.settings.machine import prepare

    prepare()
    run(
        project_commands,
        model_commands,
        loop_commands,
        serving_commands,
        backtest_commands,
        batch_commands,
        label_commands,
        alert_commands,
        skew_commands,
        performance_commands,
        keeping_commands,
        demo_commands,
    )
