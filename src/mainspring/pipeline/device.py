"""Where training runs: on a GPU when the project asks for one and one is there; else on the CPU, and it says so."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

DEVICE = "device"


def placed(params: Mapping[str, Any], recipe: ModuleType) -> tuple[dict[str, Any], str]:
    """The project's parameters with the device that there is, and a note when it is not the one asked for.

    `params.device: cuda` (or `cuda:1`) asks for a GPU. Without a visible one, or where `recipe` trains by an XGBoost that
    was built without CUDA, training goes on with `cpu`: the same recipe, slower.

    >>> placed({"trees": 3}, ModuleType("training"))
    ({'trees': 3}, '')
    """
    asked = str(params.get(DEVICE, ""))
    if not asked.startswith("cuda"):
        return dict(params), ""
    why = _why_not(recipe)
    if not why:
        return dict(params), ""
    return {**params, DEVICE: "cpu"}, f"params.device asks for {asked}, and {why}: trained on the CPU"


def visible_gpus() -> int:
    """How many GPUs CUDA's driver shows to this process; `CUDA_VISIBLE_DEVICES` counts."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _why_not(recipe: ModuleType) -> str:
    if not visible_gpus():
        return "no GPU is visible (nvidia-smi shows those there are)"
    by = {str(getattr(one, "__module__", None) or getattr(one, "__name__", "")) for one in vars(recipe).values()}
    by = {name.split(".")[0] for name in by}
    if "xgboost" in by and not sys.modules["xgboost"].build_info().get("USE_CUDA", False):
        return "this XGBoost was built without CUDA (pip install xgboost in place of xgboost-cpu)"
    return ""
