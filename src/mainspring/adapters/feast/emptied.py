"""Whether an online store lost what was written to it: then everything is written again.

SQLite keeps the marks beside the rows. Redis may come back empty, or be another one than before: it holds a token of the
marks, and without that token nothing of what they say is taken to be there.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from mainspring.adapters.feast.marks import Marks
from mainspring.adapters.feast.repo import online_place
from mainspring.domain.errors import TemporaryError


def begin_anew(store: Any, folder: Path, marks: Marks) -> None:
    """Forget the marks when the store does not hold their token; killed in between, the next call does it again.

    Errors: `TemporaryError` when Redis does not answer.
    """
    config = store.config
    if online_place(store, folder).kind != "redis":
        return
    import redis

    key = f"mainspring:{config.project}:marks"
    try:
        client = store._get_provider().online_store._get_client(config.online_store)
        held = client.get(key)
        if held is not None and held.decode() == marks.token():
            return
        token = uuid.uuid4().hex
        marks.begin(token)
        client.set(key, token)
    except redis.RedisError as error:
        raise TemporaryError(
            f"the online store did not answer: {error}",
            where="online store redis",
            next_step="the next tick tries again",
        ) from error
