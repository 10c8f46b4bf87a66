"""Plain Feast: entities, feature views over the rows that transforms.py computes, and one feature service."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String


def delays(key, entity):
    """A view of delays by one key; older than a day it says nothing about today."""
    name = f"{key}_delays"
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(hours=24),
        schema=[
            Field(name=key, dtype=String),
            *(Field(name=f"{key}_{feature}", dtype=Float64) for feature in ("delay_24h", "delay_6h", "late_24h")),
        ],
        source=FileSource(name=name, path=name, timestamp_field="event_timestamp"),
    )


origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
dest = Entity(name="dest", join_keys=["dest"], value_type=ValueType.STRING)

origin_weather = FeatureView(
    name="origin_weather",
    entities=[origin],
    ttl=timedelta(hours=24),
    schema=[Field(name=name, dtype=Float64) for name in ("temp", "humid", "wind_speed", "precip", "pressure", "visib")],
    source=FileSource(name="origin_weather", path="origin_weather", timestamp_field="event_timestamp"),
)
origin_delays = delays("origin", origin)
carrier_delays = delays("carrier", carrier)
dest_delays = delays("dest", dest)

flights = FeatureService(name="flights", features=[origin_weather, origin_delays, carrier_delays, dest_delays])
