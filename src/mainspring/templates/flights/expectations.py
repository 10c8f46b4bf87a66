"""What has to be true of the flights before anything is trained on them (plain Great Expectations)."""

import great_expectations.expectations as gxe

expectations = [
    gxe.ExpectColumnValuesToNotBeNull(column="carrier", severity="critical"),
    gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=["EWR", "JFK", "LGA"], severity="critical"),
    gxe.ExpectColumnValuesToBeBetween(column="distance", min_value=10, max_value=6000, severity="critical"),
    gxe.ExpectColumnValuesToBeBetween(column="hour", min_value=0, max_value=23, severity="critical"),
    gxe.ExpectColumnMeanToBeBetween(column="late", min_value=0.02, max_value=0.6, severity="warning"),
]
