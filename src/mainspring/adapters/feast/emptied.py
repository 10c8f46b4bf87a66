"""Whether an online store lacks what was written: then everything is written again.

Redis may come back empty, or be another one than before: it holds a token of the marks, and without that token nothing of
what they say is taken to be there. Of other stores it is known whether the project names another one than before.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

from mainspring.adapters.feast.marks import Marks
from mainspring.adapters.feast.repo import online_place
from mainspring.domain.errors import TemporaryError


def begin_anew(store: Any, folder: Path, marks: Marks) -> None:
    """Forget the marks of a store that is not the one they are of; killed in between, the next call does it again.

    Errors: `TemporaryError` when Redis does not answer.
    """
    config = store.config
    if online_place(store, folder).kind != "redis":
        token = hashlib.blake2b(repr(config.online_store).encode(), digest_size=16).hexdigest()
        if marks.token() != token:
            marks.begin(token)
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
