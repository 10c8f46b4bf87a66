"""Steps ingest, validate and engineer: from sources to a training set with its signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import ValidationFailed
from mainspring.features.questions import EVENT_TIME, LABEL, LABEL_KNOWN_AT, REQUEST_ID
from mainspring.pipeline import split as parts
from mainspring.pipeline.split import PART
from mainspring.platforms.personal import refuse_strange_columns
from mainspring.platforms.steps.call import FACTS, RESULTS, SIGNATURE, Facts, StepCall, read_rows, write_rows
from mainspring.ports import ExpectationResult

if TYPE_CHECKING:
    import pyarrow as pa


def ingest(call: StepCall) -> dict[str, float]:
    """Labelled questions as they were known."""
    from mainspring.features.questions import labelled
    from mainspring.platforms.laptop import LaptopFeatures

    asked = LaptopFeatures(call.loaded).questions(call.known_at, carry=True)
    rows, counts = labelled(asked, call.known_at)
    write_rows(call.outputs["dataset"], rows)
    return {"asked": counts.asked, "labelled": counts.labelled, "waiting": counts.waiting, "never": counts.never}


def validate(call: StepCall) -> dict[str, float]:
    """The project's expectations; a critical one that fails ends the run here."""
    from mainspring.adapters.great_expectations.validator import EXPECTATIONS_FILE, GreatExpectationsValidator

    rows = in_the_projects_names(call, read_rows(call.inputs["dataset"]))
    report, page = call.outputs["report"], call.outputs["page"]
    identity = call.loaded.settings.target.id or call.loaded.settings.question_time
    validator = GreatExpectationsValidator(call.loaded.paths.root / EXPECTATIONS_FILE, identity=identity)
    results = validator.validate(rows, page)
    report.mkdir(parents=True, exist_ok=True)
    (report / RESULTS).write_bytes(to_json(list(results), indent=2))
    failed = [one for one in results if not one.success and one.severity == "critical"]
    if failed:
        tracking = call.tracking()
        tracking.keep(tracking.run(call.run_id), page, "validation.html")
        raise ValidationFailed(
            f"{len(failed)} critical expectation{'s' if len(failed) > 1 else ''} failed: "
            + "; ".join(in_words(one) for one in failed),
            where=str(page),
            next_step="mend the source, or the expectation, then mainspring run",
        )
    warnings = _warnings(results)
    call.notes.extend(warnings)
    return {"expectations": len(results), "warnings": len(warnings)}


def engineer(call: StepCall) -> dict[str, float]:
    """Features as they were known when each question was asked, and each row's part."""
    import pyarrow as pa

    from mainspring.platforms.challenger import require_slices, signature_of, with_features
    from mainspring.platforms.laptop import LaptopFeatures

    settings = call.loaded.settings
    rows = read_rows(call.inputs["dataset"])
    features = LaptopFeatures(call.loaded)
    features.advance(call.known_at, to_train=True)
    rows, sources, entities = with_features(call.loaded, features, rows)
    require_slices(settings, rows.column_names, [name for name in rows.column_names if name in sources])
    time = EVENT_TIME if EVENT_TIME in rows.column_names else None
    divided = parts.divide(rows, settings.split, time=time, known_at=call.known_at, train_from=call.train_from)
    rows = rows.append_column(PART, pa.array(divided.parts))
    refuse_strange_columns(settings, [*sources, *entities])
    signature = signature_of(settings, rows, sources, entities, features.views())
    parts.require_classes(rows.column(LABEL), divided.parts, signature)
    folder = call.outputs["training_set"]
    write_rows(folder, rows)
    (folder / SIGNATURE).write_bytes(to_json(signature, indent=2))
    results = from_json(list[ExpectationResult], (call.inputs["report"] / RESULTS).read_bytes())
    facts = Facts(features.versions(), tuple(_warnings(results)), len(results))
    (folder / FACTS).write_bytes(to_json(facts, indent=2))
    return {"rows": rows.num_rows, "features": len(signature.features)}


def in_the_projects_names(call: StepCall, rows: pa.Table) -> pa.Table:
    """The platform's own columns under the names that the project gave them, as its expectations know them."""
    settings = call.loaded.settings
    target = settings.target
    given = {
        LABEL: target.column,
        EVENT_TIME: settings.question_time,
        REQUEST_ID: target.id,
        LABEL_KNOWN_AT: target.available_at,
    }
    taken, names = set(rows.column_names), []
    for name in rows.column_names:
        own = given.get(name)
        names.append(own if own is not None and own not in taken else name)
        taken.add(names[-1])
    return rows.rename_columns(names)


def in_words(one: ExpectationResult) -> str:
    """A result in one line: expectation, column, count, and examples.

    >>> in_words(ExpectationResult("expect_mean", "late", "warning", False, 0, ("observed 0.7",), "max_value 0.6"))
    'expect_mean on late (max_value 0.6): observed 0.7'
    """
    asked = f" ({one.asked})" if one.asked else ""
    rows = f"{one.unexpected_count:,} row{'s' if one.unexpected_count != 1 else ''}" if one.unexpected_count else ""
    examples = "; ".join(one.examples)
    found = f"{rows} ({examples})" if rows and examples else rows or examples or "not met"
    return f"{one.expectation} on {one.column or 'the table'}{asked}: {found}"


def _warnings(results: Sequence[ExpectationResult]) -> list[str]:
    return [f"warning: {in_words(one)}" for one in results if not one.success]
