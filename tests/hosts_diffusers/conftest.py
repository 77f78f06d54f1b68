from __future__ import annotations

from typing import Any

import pytest

from tests.hosts_diffusers.pipelines import PIPELINES


@pytest.fixture
def sd() -> Any:
    return PIPELINES["sd"]()


@pytest.fixture
def sd_v() -> Any:
    return PIPELINES["sd_v"]()


@pytest.fixture
def sdxl() -> Any:
    return PIPELINES["sdxl"]()
