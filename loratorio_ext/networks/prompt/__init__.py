"""What a prompt says of networks: tags, names, and the patterns of a pool. Imports no torch."""

from __future__ import annotations

from loratorio_ext.networks.prompt.names import MAX_NAME, Problem, choose_pool, name_problem, shown
from loratorio_ext.networks.prompt.tags import (
    KINDS,
    MAX_PROBLEMS,
    MAX_STRENGTH,
    OtherTag,
    Prompt,
    Tag,
    composes,
    parse_prompt,
)

__all__ = [
    "KINDS",
    "MAX_NAME",
    "MAX_PROBLEMS",
    "MAX_STRENGTH",
    "OtherTag",
    "Problem",
    "Prompt",
    "Tag",
    "choose_pool",
    "composes",
    "name_problem",
    "parse_prompt",
    "shown",
]
