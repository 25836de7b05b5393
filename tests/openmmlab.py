"""The real MMEngine, for comparison, where it is installed."""

import importlib.util
import sys
import types
import warnings

import pytest


def theirs(name):
    """A module of MMEngine, which draws pictures with OpenCV, but not here."""
    stub = types.ModuleType("cv2")
    if importlib.util.find_spec("cv2") is None:
        sys.modules["cv2"] = stub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip(name, reason="make test installs MMEngine")
    finally:
        if sys.modules.get("cv2") is stub:
            del sys.modules["cv2"]
