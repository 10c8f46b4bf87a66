"""The six steps as a Kubeflow pipeline with typed artifacts; the gate is `dsl.If` on an int.

No postponed annotations: Kubeflow reads the pipeline function's as they stand.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STEP_CALLS = ("ingest", "validate", "engineer", "train", "evaluate", "register", "refuse")
"""Tasks of the pipeline. `refuse` is the step `register` of a model that did not pass the gate."""


def build(cache_keys: Mapping[str, str] | None = None) -> Any:
    """The pipeline function, ready to be compiled or, in a local session, called.

    `cache_keys` has a key for each task; without them nothing is taken from a cache.
    """
    from kfp import dsl

    from mainspring.adapters.kfp.components import COMPONENTS

    keys, tasks = dict(cache_keys or {}), COMPONENTS

    def cached(task: Any, name: str) -> Any:
        task.set_display_name(name if name != "refuse" else "register")
        return task.set_caching_options(name in keys, cache_key=keys.get(name))

    decorate: Any = dsl.pipeline(
        name="mainspring", description="ingest > validate > engineer > train > evaluate -gate-> register"
    )

    def pipeline(project: str, run_id: str, entry: str, parameters: str):  # type: ignore[no-untyped-def]
        given = {"project": project, "run_id": run_id, "entry": entry, "parameters": parameters}
        ingest = cached(tasks["ingest"](**given), "ingest")
        dataset = ingest.outputs["dataset"]
        validate = cached(tasks["validate"](**given, dataset=dataset), "validate")
        engineer = cached(tasks["engineer"](**given, dataset=dataset, report=validate.outputs["report"]), "engineer")
        rows = engineer.outputs["training_set"]
        train = cached(tasks["train"](**given, training_set=rows), "train")
        model, metrics = train.outputs["model"], train.outputs["metrics"]
        evaluate = cached(tasks["evaluate"](**given, training_set=rows, model=model, metrics=metrics), "evaluate")
        found = {"training_set": rows, "validation": validate.outputs["page"], "model": model, "metrics": metrics}
        found |= {"evaluation": evaluate.outputs["evaluation"], "page": evaluate.outputs["page"]}
        # kfp.local finds an unnamed output only.
        gate = evaluate.outputs["Output"]
        with dsl.If(gate == 1, name="passed"):
            cached(tasks["register"](**given, **found), "register")
        with dsl.If(gate == 0, name="refused"):
            cached(tasks["refuse"](**given, **found), "refuse")

    return decorate(pipeline)


def compile_to(path: Path) -> None:
    """Write the pipeline's IR YAML."""
    from kfp.compiler import Compiler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Compiler().compile(build(), str(path))
