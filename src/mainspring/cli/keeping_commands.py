"""Commands about what is taken in and what is kept: adopt, gc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainspring.cli.app import AsJson, Project, app, folder_of, load
from mainspring.cli.output import doing, print_json, print_table


@app.command(epilog="Example: mainspring adopt models:/churn/3 --reference churn.csv --label churned --into churn")
def adopt(
    uri: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS of an MLflow registry.")],
    reference: Annotated[
        Path,
        typer.Option(help="CSV or Parquet with the model's inputs, as they are served; drift is watched against it."),
    ],
    project: Project = None,
    into: Annotated[
        Path | None, typer.Option(help="The folder of the project; one that is new is written. Default: this project.")
    ] = None,
    tracking_uri: Annotated[
        str,
        typer.Option(envvar="MLFLOW_TRACKING_URI", help="The MLflow that has the model. Default: the project's own."),
    ] = "",
    task: Annotated[str, typer.Option(help="binary, multiclass or regression, where the model does not say.")] = "",
    label: Annotated[str, typer.Option(help="The reference's column with what really happened.")] = "",
    time: Annotated[str, typer.Option(help="The reference's column with the instant of each row.")] = "",
    key: Annotated[str, typer.Option("--id", help="The reference's column with each row's id.")] = "",
    prediction: Annotated[
        str,
        typer.Option(help="The reference's column with this version's answers. Default: prediction, if it is there."),
    ] = "",
    trained_until: Annotated[
        str,
        typer.Option("--trained-until", help="The newest instant of its training rows, for fair comparisons later."),
    ] = "",
    name: Annotated[str, typer.Option(help="A new project's name. Default: its folder's.")] = "",
    why: Annotated[str, typer.Option("--why", help="The reason, for the ledger.")] = "",
    by: Annotated[str, typer.Option("--by", help="Who adopts, for the ledger. Default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put an existing MLflow model under care: served, watched and rolled out, before any retraining.

    It is read without running code of its own, exported, and held against the original on the reference.
    """
    import getpass

    from mainspring.platforms.adopt import AdoptionWish, numbers_in_words

    wish = AdoptionWish(uri, reference, tracking_uri, task, label, time, key, prediction, trained_until)
    who = by or getpass.getuser()
    with doing("fetching and comparing"):
        from mainspring.templates.adopted import adopt_here, adopt_into

        if into is not None:
            done = adopt_into(into, wish, name=name, by=who, why=why)
        else:
            done = adopt_here(load(folder_of(project)), wish, by=who, why=why)
    if as_json:
        print_json(done)
        return
    print(f"{done.origin} is version {done.version} of {done.project}, in {done.folder}")
    print(f"{done.task} on {len(done.inputs)} inputs: {', '.join(done.inputs)}")
    print(f"served as {done.format}; on {done.rows:,} rows its answers differ by at most {done.largest_difference:.1g}")
    if done.compared_rows:
        print(f"{done.compared_rows:,} predictions of the reference are what it answers")
    if done.metrics:
        print(f"on the reference's labels: {numbers_in_words(done.metrics)}")
    for note in done.notes:
        print(note)
    print(f"next: mainspring up -C {done.folder}, which serves and watches it")


@app.command(epilog="Example: mainspring gc --dry-run")
def gc(
    project: Project = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, why, and how many bytes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who asks, for the ledger. Default: this user.")] = "",
    as_json: AsJson = False,
) -> None:
    """Delete what is not kept: versions beyond keep.versions with their files, and files nothing refers to.

    Nothing that is in service, in a rollout or its guard, aliased, approved, or may come back.
    """
    import getpass
    import sys

    from mainspring.domain.errors import ConfigError

    with doing("looking"):
        from mainspring.platforms.collect import collect_now, in_bytes, plan

        loaded = load(project)
        found = plan(loaded)
    if as_json and dry_run:
        print_json(found)
        return
    if not as_json:
        print_table(
            ["what", "name", "size", "why"],
            [[one.kind, one.name, in_bytes(one.bytes), one.why] for one in found.going],
            empty="nothing goes",
        )
        for version, why in found.staying.items():
            print(f"version {version} stays: {why}")
    if dry_run or not found.going:
        if dry_run and not as_json:
            print(f"{len(found.going)} things, {in_bytes(found.bytes)}, would go; nothing was done")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("what is deleted is gone", valid="--yes, or --dry-run to see it first")
        typer.confirm(f"delete {len(found.going)} things, {in_bytes(found.bytes)}?", abort=True)
    who = by or getpass.getuser()
    from mainspring.platforms.lease import holder

    if holder(loaded.paths.lease) is not None:
        from mainspring.platforms.asking import ask_loop

        answer = ask_loop(loaded, "collect", by=who)
        print_json(answer) if as_json else print(answer.text)
        return
    collect_now(loaded, by=who, tell=lambda text: None if as_json else print(text))
    if as_json:
        print_json(found)
    else:
        print(f"{len(found.going)} things, {in_bytes(found.bytes)}, are gone")
