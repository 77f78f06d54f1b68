from __future__ import annotations

import pytest


@pytest.fixture
def webui_name() -> str:
    """The tests in this folder are for one WebUI."""
    return "a1111"
