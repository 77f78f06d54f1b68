from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load(name: str) -> ModuleType:
    """A helper module beside this file; registered, because dataclasses look their module up."""
    full = f"loratorio_tests_method_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    return load("reference")


@pytest.fixture(scope="session")
def cases() -> ModuleType:
    return load("cases")
