"""`AtomicFileRegistryStore`: Feast's registry file, replaced in one rename. `feature_store.yaml` names it.

Feast's own empties the file and writes it anew: a process that is killed in between leaves one that nobody can read, and
the loop and a pipeline step that start at the same time may each see the other's half.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.utils import _utc_now


class AtomicFileRegistryStore(FileRegistryStore):  # type: ignore[misc]  # Feast has no types
    """A registry file that is there as a whole, at any moment."""

    def _write_registry(self, registry_proto: Any) -> None:
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(_utc_now())
        self._filepath.parent.mkdir(exist_ok=True)
        part = self._filepath.with_name(f".{self._filepath.name}.{os.getpid()}.part")
        part.write_bytes(registry_proto.SerializeToString())
        part.replace(self._filepath)
