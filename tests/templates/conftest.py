"""A file as people have them: an id, a name, numbers, gaps, an empty column, and a target of yes and no."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def people():
    generator, count = np.random.default_rng(3), 600
    sex = generator.choice(["male", "female"], count)
    age = np.where(generator.random(count) < 0.2, np.nan, generator.normal(30, 12, count).round(1))
    lives = (sex == "female") & (generator.random(count) < 0.8) | (generator.random(count) < 0.2)
    return pd.DataFrame(
        {
            "passenger_id": np.arange(1, count + 1),
            "name": [f"Person {place} {generator.integers(1e6)}" for place in range(count)],
            "sex": sex,
            "age": age,
            "fare": generator.gamma(2, 15, count).round(2),
            "cabin": [None] * count,
            "port": "S",
            "born": pd.to_datetime("1990-01-01") + pd.to_timedelta(generator.integers(0, 9000, count), unit="D"),
            "asked_at": pd.date_range("2026-03-01", periods=count, freq="37min"),
            "survived": np.where(lives, "yes", "no"),
            "alive": lives.astype(int),
        }
    )


@pytest.fixture
def csv(tmp_path, people):
    """Writes the people, changed by keyword, and gives the file."""

    def write(name="people.csv", **columns):
        path = tmp_path / name
        people.assign(**columns).to_csv(path, index=False)
        return path

    return write
