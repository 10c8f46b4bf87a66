"""The compiled pipeline: its IR YAML is a golden file, read again as Kubeflow reads it."""

import warnings
from pathlib import Path

import yaml

from mainspring.adapters.kfp.pipeline import STEP_CALLS, compile_to

GOLDEN = Path(__file__).parent / "golden" / "pipeline.yaml"


def test_the_compiled_pipeline_is_the_golden_file(tmp_path):
    compile_to(tmp_path / "pipeline.yaml")
    assert (tmp_path / "pipeline.yaml").read_text() == GOLDEN.read_text(), (
        "the compiled pipeline is not the golden file. If that is meant, look at the difference and write it anew: "
        f"mainspring compile --out {GOLDEN.relative_to(Path(__file__).parents[2])}"
    )


def test_steps_artifacts_and_gate_are_what_the_architecture_says():
    spec = yaml.safe_load(GOLDEN.read_text())
    components = {name.removeprefix("comp-"): one for name, one in spec["components"].items()}
    assert {name for name in components if "condition" not in name} == set(STEP_CALLS)
    kinds = {
        f"{step}.{name}": one["artifactType"]["schemaTitle"]
        for step in STEP_CALLS
        for name, one in components[step].get("outputDefinitions", {}).get("artifacts", {}).items()
    }
    assert kinds == {
        "ingest.dataset": "system.Dataset",
        "validate.report": "system.Artifact",
        "validate.page": "system.HTML",
        "engineer.training_set": "system.Dataset",
        "train.model": "system.Model",
        "train.metrics": "system.Metrics",
        "evaluate.evaluation": "system.Metrics",
        "evaluate.page": "system.HTML",
        "register.version": "system.Model",
        "refuse.version": "system.Model",
    }
    assert set(components["evaluate"]["inputDefinitions"]["artifacts"]) == {"training_set", "model", "metrics"}
    tasks = spec["root"]["dag"]["tasks"]
    conditions = {
        next(iter(components[name]["dag"]["tasks"])): tasks[name]["triggerPolicy"]["condition"]
        for name in tasks
        if "condition" in name
    }
    gate = "inputs.parameter_values['pipelinechannel--evaluate-Output']"
    assert conditions == {"register": f"int({gate}) == 1", "refuse": f"int({gate}) == 0"}


def test_kubeflow_reads_it_and_no_path_of_this_machine_is_in_it():
    from kfp import components

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = components.load_component_from_file(str(GOLDEN))
    assert set(loaded.component_spec.inputs) == {"project", "run_id", "entry", "parameters"}
    assert str(Path(__file__).parents[2]) not in GOLDEN.read_text()
