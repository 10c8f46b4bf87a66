"""Rows of the feature views, every six hours, from what was known by then.

Each function is named like its view. `db` is a DuckDB connection on which every source of `mainspring.yaml` is a view
whose rows carry `_available_at`, the instant at which they became known; `ticks(tick)` holds the instants to compute.
The SQL that a function returns gives one row for each tick and entity; only rows available at that tick may be used.
"""


def origin_weather(db):
    """The newest observation at each airport."""
    return """
        SELECT t.tick AS event_timestamp, o.origin,
               w.temp, w.humid, w.wind_speed, w.precip, w.pressure, w.visib
        FROM ticks t
        CROSS JOIN (SELECT unnest(['EWR', 'JFK', 'LGA']) AS origin) o
        ASOF JOIN weather w ON w.origin = o.origin AND w._available_at <= t.tick
    """


def origin_delays(db):
    """How late flights left and arrived, by airport."""
    return _delays("origin")


def carrier_delays(db):
    """How late flights left and arrived, by carrier."""
    return _delays("carrier")


def dest_delays(db):
    """How late flights left and arrived, by destination."""
    return _delays("dest")


def _delays(key):
    return f"""
        WITH left_ AS (
            SELECT t.tick, d.{key}, avg(d.delay_minutes) AS delay_24h,
                   avg(d.delay_minutes) FILTER (d._available_at > t.tick - INTERVAL 6 HOUR) AS delay_6h
            FROM ticks t JOIN departures d
              ON d._available_at <= t.tick AND d._available_at > t.tick - INTERVAL 24 HOUR
            GROUP BY ALL
        ), arrived AS (
            SELECT t.tick, a.{key}, avg(a.late) AS late_24h
            FROM ticks t JOIN arrivals a
              ON a._available_at <= t.tick AND a._available_at > t.tick - INTERVAL 24 HOUR
            GROUP BY ALL
        )
        SELECT tick AS event_timestamp, {key},
               delay_24h AS {key}_delay_24h, delay_6h AS {key}_delay_6h, late_24h AS {key}_late_24h
        FROM left_ FULL JOIN arrived USING (tick, {key})
    """
