"""An online store that only Feast can read: SQLite's, under another name."""

from typing import Any

from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig


class CustomOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Its class path is its type."""

    type: Any = "tests.adapters.feast.custom_store.CustomOnlineStore"


class CustomOnlineStore(SqliteOnlineStore):
    """Keys and values as SQLite has them; whoever looks at the type does not know that."""

    def _get_db_path(self, config: Any) -> str:
        return str(config.repo_path / config.online_store.path)
