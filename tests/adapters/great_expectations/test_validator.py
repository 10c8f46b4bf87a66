"""A project's expectations: what breaks them is named with counts and examples."""

import pyarrow as pa
import pytest

from mainspring.adapters.great_expectations.validator import GreatExpectationsValidator
from mainspring.domain.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore")
TABLE = pa.table({"hour": [5, 23, 31, None], "late": [0, 1, 1, 1], "name": ["<b>", "b", "c", "d"]})


def validator(tmp_path, *expectations):
    path = tmp_path / "expectations.py"
    path.write_text("import great_expectations.expectations as gxe\nexpectations = [" + ", ".join(expectations) + "]\n")
    return GreatExpectationsValidator(path)


def test_results_name_expectation_column_severity_count_and_examples(tmp_path):
    results = validator(
        tmp_path,
        "gxe.ExpectColumnValuesToBeBetween(column='hour', min_value=0, max_value=23, severity='critical')",
        "gxe.ExpectColumnMeanToBeBetween(column='late', min_value=0, max_value=0.5, severity='warning')",
        "gxe.ExpectColumnValuesToNotBeNull(column='name', severity='critical')",
        "gxe.ExpectColumnValuesToBeInSet(column='name', value_set=['b', 'c', 'd'], severity='warning')",
    ).validate(TABLE, tmp_path / "out" / "page.html")
    hour, *_, name = results
    assert (hour.expectation, hour.column, hour.severity) == ("expect_column_values_to_be_between", "hour", "critical")
    assert (hour.success, hour.unexpected_count) == (False, 1)
    assert hour.examples == ("row 2: 31.0",)
    assert hour.asked == "min_value 0, max_value 23"
    mean = next(one for one in results if one.column == "late")
    assert (mean.examples, mean.asked) == (("observed 0.75",), "min_value 0, max_value 0.5")
    assert name.success
    page = (tmp_path / "out" / "page.html").read_text()
    assert "4 expectations over 4 rows: 3 did not hold." in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    ("expectation", "column", "count", "example"),
    [
        ("ExpectColumnValuesToNotBeNull(column='hour')", "hour", 1, "row 3, name d: nan"),
        (
            "ExpectCompoundColumnsToBeUnique(column_list=['late', 'late'])",
            "late, late",
            3,
            "row 1, name b: {'late': 1}",
        ),
        (
            "ExpectColumnPairValuesAToBeGreaterThanB(column_A='late', column_B='hour')",
            "late, hour",
            4,
            "row 0, name <b>: (0, 5.0)",
        ),
        ("ExpectTableRowCountToBeBetween(min_value=10)", "", 0, "observed 4"),
        ("ExpectColumnDistinctValuesToBeInSet(column='name', value_set=['b', 'c', 'd'])", "name", 1, "'<b>'"),
    ],
)
def test_every_kind_of_expectation_says_where_it_broke(tmp_path, expectation, column, count, example):
    (tmp_path / "expectations.py").write_text(
        f"import great_expectations.expectations as gxe\nexpectations = [gxe.{expectation}]\n"
    )
    (one,) = GreatExpectationsValidator(tmp_path / "expectations.py", identity="name").validate(TABLE, tmp_path / "p")
    assert (one.column, one.unexpected_count, one.examples[0]) == (column, count, example)
    assert (one.success, one.severity) == (False, "critical")


def test_a_column_that_is_not_there_and_a_broken_file_are_the_projects_faults(tmp_path):
    with pytest.raises(ConfigError, match="'hours' cannot be evaluated"):
        validator(tmp_path, "gxe.ExpectColumnValuesToNotBeNull(column='hours')").validate(TABLE, tmp_path / "p.html")
    (tmp_path / "expectations.py").write_text("expectation = []")
    with pytest.raises(ConfigError, match="no list `expectations`"):
        GreatExpectationsValidator(tmp_path / "expectations.py").validate(TABLE, tmp_path / "p.html")


def test_without_a_file_nothing_is_expected(tmp_path):
    assert GreatExpectationsValidator(tmp_path / "none.py").validate(TABLE, tmp_path / "p.html") == []
