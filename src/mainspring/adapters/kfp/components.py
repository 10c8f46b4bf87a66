"""The pipeline's components: thin, each hands its paths to the function that `entry` (`module:function`) names.

Kubeflow reads the annotations as they stand and sends each function's source alone: no postponed annotations here, and
nothing of this module is used inside a function. Import this module only where kfp may be imported.
"""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

IMAGE = "python:3.11"
"""Placeholder of the worker image; a subprocess on this machine needs none."""

component = dsl.component(base_image=IMAGE, install_kfp_package=False)


@component
def ingest(project: str, run_id: str, entry: str, parameters: str, dataset: Output[Dataset]):
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    call("ingest", project, run_id, parameters, {}, {"dataset": dataset.path})


@component
def validate(
    project: str,
    run_id: str,
    entry: str,
    parameters: str,
    dataset: Input[Dataset],
    report: Output[Artifact],
    page: Output[HTML],
):
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    outputs = {"report": report.path, "page": page.path}
    call("validate", project, run_id, parameters, {"dataset": dataset.path}, outputs)


@component
def engineer(
    project: str,
    run_id: str,
    entry: str,
    parameters: str,
    dataset: Input[Dataset],
    report: Input[Artifact],
    training_set: Output[Dataset],
):
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    inputs = {"dataset": dataset.path, "report": report.path}
    call("engineer", project, run_id, parameters, inputs, {"training_set": training_set.path})


@component
def train(
    project: str,
    run_id: str,
    entry: str,
    parameters: str,
    training_set: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
):
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    outputs = {"model": model.path, "metrics": metrics.path}
    found = call("train", project, run_id, parameters, {"training_set": training_set.path}, outputs)
    for name, value in found.items():
        metrics.log_metric(name, value)


@component
def evaluate(
    project: str,
    run_id: str,
    entry: str,
    parameters: str,
    training_set: Input[Dataset],
    model: Input[Model],
    metrics: Input[Metrics],
    evaluation: Output[Metrics],
    page: Output[HTML],
) -> int:
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    inputs = {"training_set": training_set.path, "model": model.path, "metrics": metrics.path}
    found = call("evaluate", project, run_id, parameters, inputs, {"evaluation": evaluation.path, "page": page.path})
    for name, value in found.items():
        evaluation.log_metric(name, value)
    return int(found["passed"])


@component
def register(
    project: str,
    run_id: str,
    entry: str,
    parameters: str,
    training_set: Input[Dataset],
    validation: Input[HTML],
    model: Input[Model],
    metrics: Input[Metrics],
    evaluation: Input[Metrics],
    page: Input[HTML],
    version: Output[Model],
):
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    inputs = {"training_set": training_set.path, "validation": validation.path, "model": model.path}
    inputs |= {"metrics": metrics.path, "evaluation": evaluation.path, "page": page.path}
    call("register", project, run_id, parameters, inputs, {"version": version.path})


@component
def refuse(
    project: str,
    run_id: str,
    entry: str,
    parameters: str,
    training_set: Input[Dataset],
    validation: Input[HTML],
    model: Input[Model],
    metrics: Input[Metrics],
    evaluation: Input[Metrics],
    page: Input[HTML],
    version: Output[Model],
):
    import importlib

    module, function = entry.split(":")
    call = getattr(importlib.import_module(module), function)
    inputs = {"training_set": training_set.path, "validation": validation.path, "model": model.path}
    inputs |= {"metrics": metrics.path, "evaluation": evaluation.path, "page": page.path}
    call("refuse", project, run_id, parameters, inputs, {"version": version.path})


COMPONENTS = {
    "ingest": ingest,
    "validate": validate,
    "engineer": engineer,
    "train": train,
    "evaluate": evaluate,
    "register": register,
    "refuse": refuse,
}
