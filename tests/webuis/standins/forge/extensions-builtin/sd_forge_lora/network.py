from __future__ import annotations

from modules.network_common import Network, NetworkOnDisk  # noqa: F401
