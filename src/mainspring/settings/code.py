"""Importing the project's own files, `training.py` and its neighbours, as they are now."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import CodeType, ModuleType


class _Uncached(importlib.machinery.SourceFileLoader):
    """Compiles the text that is there now: two edits within a second can leave a cached file that passes for fresh."""

    def get_code(self, fullname: str) -> CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)


def import_file(path: Path, name: str) -> ModuleType:
    """Import a file by its path under `name`; nothing is written beside it.

    Errors: whatever the file raises; the module of that name is then the one that it was before.
    """
    loader = _Uncached(name, str(path))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    # Where dataclasses and the like look their module up.
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return module
