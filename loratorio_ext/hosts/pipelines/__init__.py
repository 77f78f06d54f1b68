"""A diffusers pipeline with LoRAtorio: its own call, with its adapters composed place by place."""

from __future__ import annotations

from loratorio_ext.hosts.pipelines.composition import PipelineComposition, compose

__all__ = ["PipelineComposition", "compose"]
