"""Feast's bytes by hand, against Feast's own serialisation."""

import contextlib
import math
import warnings
from datetime import UTC, datetime

import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from mainspring.domain.errors import DataError
from mainspring.serving.config import OnlineView
from mainspring.serving.feast_format import KeyEncoder, decode_instant, decode_value

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=False)
KEYS = {
    "STRING": ("string_val", st.text()),
    "BYTES": ("bytes_val", st.binary()),
    "INT32": ("int32_val", INT32),
    "INT64": ("int64_val", INT64),
    "UNIX_TIMESTAMP": ("unix_timestamp_val", INT64),
}
SCALARS = {
    "bytes": st.binary(),
    "string": st.text(),
    "int32": INT32,
    "int64": INT64,
    "double": st.floats(allow_nan=False),
    "float": FLOAT32,
    "bool": st.booleans(),
    "unix_timestamp": st.integers(-(2**63) + 1, 2**63 - 1),
}


@st.composite
def entity_keys(draw):
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
    kinds = [draw(st.sampled_from(sorted(KEYS))) for _ in names]
    return names, kinds, [draw(KEYS[kind][1]) for kind in kinds]


@given(entity_keys())
def test_entity_keys_are_feasts(drawn):
    names, kinds, values = drawn
    protos = [Value(**{KEYS[kind][0]: value}) for kind, value in zip(kinds, values, strict=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = serialize_entity_key(EntityKey(join_keys=names, entity_values=protos), 3)
    view = OnlineView("v", tuple(names), (), key_types=tuple(kinds))
    assert KeyEncoder(view).encode(tuple(values)) == theirs


@pytest.mark.parametrize("kind", SCALARS)
@given(data=st.data())
def test_values_and_lists_of_them_are_read_as_feast_wrote_them(kind, data):
    value = data.draw(SCALARS[kind])
    found = decode_value(Value(**{f"{kind}_val": value}).SerializeToString())
    assert (found, type(found)) == (value, type(value))
    values = data.draw(st.lists(SCALARS[kind], max_size=5))
    proto = Value()
    getattr(proto, f"{kind}_list_val").SetInParent()
    getattr(proto, f"{kind}_list_val").val.extend(values)
    assert decode_value(proto.SerializeToString()) == values


def test_null_and_nan_are_what_they_are():
    assert decode_value(Value(null_val=0).SerializeToString()) is None
    assert decode_value(Value().SerializeToString()) is None
    assert math.isnan(decode_value(Value(double_val=math.nan).SerializeToString()))
    # What Feast writes for an instant that is not there.
    assert decode_value(Value(unix_timestamp_val=-(2**63)).SerializeToString()) is None


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_instants_are_read_to_the_microsecond(at):
    proto = Timestamp()
    proto.FromDatetime(at)
    expected = (at.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    assert decode_instant(proto.SerializeToString()) == expected


@given(st.binary(max_size=40))
def test_other_bytes_are_refused_or_read_and_nothing_else(raw):
    with contextlib.suppress(DataError):
        decode_value(raw)


def test_maps_and_sets_are_refused_by_their_field():
    proto = Value()
    proto.int64_set_val.val.extend([1])
    with pytest.raises(DataError, match="a set, a map or a struct \\(field 25"):
        decode_value(proto.SerializeToString())
