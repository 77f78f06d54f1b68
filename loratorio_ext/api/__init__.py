"""The routes beside the WebUI's own API, and the refusal of wrong arguments in the WebUI's own routes."""

from __future__ import annotations

from loratorio_ext.api.refusal import refuse_wrong_arguments
from loratorio_ext.api.routes import add_routes

__all__ = ["add_routes", "refuse_wrong_arguments"]
