"""`compose`: the adapters of a diffusers pipeline act place by place while a context is open.

By torch's hooks around the denoiser's call. Hooks of diffusers take the place of `forward`, which accelerate
puts back after every picture where models are offloaded.
"""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final

import torch
from torch import nn

from loratorio_ext.hosts.pipelines.adapters import acting, names_of, read_adapter, resting, tuner_layers
from loratorio_ext.hosts.pipelines.checks import (
    active_adapters,
    caller_level,
    check_caller,
    check_denoiser,
    check_names,
    choose_adapters,
)
from loratorio_ext.hosts.pipelines.evaluation import Call
from loratorio_ext.hosts.pipelines.families import family_of
from loratorio_ext.hosts.pipelines.generation import Generation
from loratorio_ext.run import Report
from loratorio_ext.settings import Settings

_ONE_AT_A_TIME: Final = (
    "two threads call this pipeline at once, whose scheduler and composition hold one picture at a time; "
    "draw one after another (a lock), or give each thread a pipeline of its own"
)


class PipelineComposition:
    """A pipeline whose adapters are composed as long as this is open, as a context; made by `compose`.

    Attributes:
        settings: of every generation.
    """

    def __init__(
        self, pipeline: Any, adapters: Sequence[str] | None, keep: Sequence[str], settings: Settings | None
    ) -> None:
        """Arguments and raises: see `compose`. Nothing is touched yet."""
        self.settings = settings = Settings() if settings is None else settings
        if not isinstance(settings, Settings):
            raise ValueError(
                f"settings is {settings!r:.80}; give loratorio.Settings(...), as Settings(looks=2)"
            )
        check_names(adapters, keep)
        self._pipeline, self._adapters, self._keep = pipeline, adapters, keep or ()
        self._family = family_of(pipeline)
        self._generation: Generation | None = None
        self._thread = 0  # of the generation
        self._told: set[str] = set()
        self._open = ExitStack()
        self._prepare()

    def _prepare(self) -> None:
        """Check the pipeline as it is now."""
        pipeline, component = self._pipeline, self._family.component
        self._denoiser: nn.Module = getattr(pipeline, component)
        check_denoiser(pipeline, self._denoiser)
        # The only trace of an open context.
        hooks = self._denoiser._forward_pre_hooks.values()
        if any(isinstance(getattr(hook, "__self__", None), PipelineComposition) for hook in hooks):
            raise ValueError("this pipeline is being composed already; end that context first")
        layers = tuner_layers(self._denoiser)
        encoders = [
            one
            for name, one in pipeline.components.items()
            if name.startswith("text_encoder") and isinstance(one, nn.Module)
        ]
        self._layers = layers.values()
        self._encoders = [layer for one in encoders for layer in tuner_layers(one).values()]
        self._loaded, in_texts = names_of(self._layers), names_of(self._encoders)
        self._active = _active(self._layers)
        loaded = tuple(dict.fromkeys((*self._loaded, *in_texts)))
        chosen = self._adapters
        self._warnings: list[str] = []
        if chosen is None:
            active, self._warnings = active_adapters((self._denoiser, *encoders), loaded)
            chosen = [name for name in active if name not in self._keep]
        self._all = choose_adapters(chosen, self._keep, loaded)
        self._names = [name for name in self._all if name in self._loaded]
        for name in self._names:
            read_adapter(name, component, layers)
        enabled = {
            name for layer in self._layers if not layer.disable_adapters for name in layer.active_adapters
        }
        self._warnings += _warnings(self._all, self._loaded, in_texts, enabled)
        if self.settings.pool:
            self._warnings.append("pool has no effect with a pipeline: load the networks that take part")
        self._signature = inspect.signature(type(self._denoiser).forward)

    def __enter__(self) -> PipelineComposition:
        self._prepare()
        with ExitStack() as stack:
            stack.callback(self._tell)
            stack.enter_context(resting(self._layers))
            stack.enter_context(acting(self._encoders, self._all))
            stack.callback(self._denoiser.register_forward_pre_hook(self.before, with_kwargs=True).remove)
            stack.callback(self._denoiser.register_forward_hook(self.after, with_kwargs=True).remove)
            stack.callback(self.end)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    @property
    def report(self) -> Report | None:
        """Of the last generation; None before the first has begun.

        Where a pipeline asks for the unconditional by a call of its own (Flux, Qwen-Image, Wan), rows and
        calls are those of the conditional.
        """
        return None if self._generation is None else self._generation.run.report

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before(
        self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Signature of `register_forward_pre_hook(..., with_kwargs=True)`."""
        given = dict(self._signature.bind(denoiser, *args, **kwargs).arguments)
        del given["self"]
        check_caller(sys._getframe(1), self._pipeline, self._family.component, denoiser)
        generation, thread = self._generation, threading.get_ident()
        if generation is None or generation.timesteps is not self._pipeline.scheduler.timesteps:
            self.end()
            self._tell()
            generation, self._thread = self._begun(), thread
            self._generation = generation
        elif thread != self._thread:
            raise RuntimeError(_ONE_AT_A_TIME)
        call = Call.of(denoiser, given, self._family, generation.layout)
        generation.before(call)
        return (), call.of_rows(range(call.rows))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def after(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Signature of `register_forward_hook(..., with_kwargs=True)`."""
        generation = self._generation
        if generation is None:
            return output
        if self._thread != threading.get_ident():
            raise RuntimeError(_ONE_AT_A_TIME)
        answer = generation.after(output)
        if generation.run.report.finished:
            self._tell()
        return answer

    def _tell(self) -> None:
        """The report's warnings as warnings of Python, each once, at the line that called the pipeline."""
        for text in () if self.report is None else self.report.warnings:
            if text not in self._told:
                self._told.add(text)
                warnings.warn(f"LoRAtorio: {text}", UserWarning, caller_level(sys._getframe(1)) + 1)

    def end(self) -> None:
        """No further call belongs to the generation."""
        if self._generation is not None:
            self._generation.end()

    def _begun(self) -> Generation:
        layers = tuner_layers(self._denoiser)
        as_before = names_of(layers.values()) == self._loaded and _active(layers.values()) == self._active
        if not as_before or not all(layer.disable_adapters for layer in layers.values()):
            raise RuntimeError(
                "adapters were loaded, chosen (set_adapters), enabled or deleted inside compose(), and would "
                "act twice or not at all; do that before compose() begins"
            )
        adapters = [read_adapter(name, self._family.component, layers) for name in self._names]
        kept = frozenset(self._keep)
        generation = Generation(self._pipeline, self._family, adapters, kept, self.settings)
        for warning in self._warnings:
            generation.run.report.warn(warning)
        return generation


def compose(
    pipeline: Any,
    adapters: Sequence[str] | None = None,
    *,
    keep: Sequence[str] = (),
    settings: Settings | None = None,
) -> PipelineComposition:
    """Compose the adapters that a pipeline has loaded, place by place, in a `with` block.

    Inside the context the pipeline is called as ever, any number of times, by one thread at a time; other
    strengths of the same adapters count from the next picture on, and `disable_lora` has no effect. The
    adapters of the denoiser (`unet` or `transformer`) rest in PEFT meanwhile and act through hooks, at the
    strengths of `set_adapters`; their parts in text encoders act merged. Afterwards all is as before, also
    after an exception. Another pipeline that shares the denoiser is refused inside: open a context for that
    one instead. What the report warns of is also a warning of Python, a UserWarning.

    Args:
        pipeline: of Stable Diffusion 1.x, 2.x, XL or 3, Flux, Qwen-Image, Z-Image or Wan (still pictures).
        adapters: the names of those to compose; None: those that `set_adapters` has made active, or all where
            only the last one is active, as it is after loading; without those in ``keep``.
        keep: names of those that act merged everywhere (acceleration networks, sliders).
        settings: None: the defaults. ``enabled`` and ``pool`` are not read.

    Returns:
        The composition, to be opened by `with`, with the report of the last generation.

    Raises:
        ValueError: the pipeline, its state (compiled, fused, cached) or an adapter cannot be composed, or a
            name is not known; nothing has been changed.
    """
    return PipelineComposition(pipeline, adapters, keep, settings)


def _active(layers: Collection[Any]) -> frozenset[str]:
    return frozenset(name for layer in layers for name in layer.active_adapters)


def _warnings(
    names: Sequence[str], in_denoiser: Sequence[str], in_texts: Sequence[str], enabled: Collection[str]
) -> Iterator[str]:
    """What does not act as one may expect; names: of all adapters that act."""
    for name in names:
        if name not in in_denoiser:
            yield f"adapter {name!r} has no part in the denoiser: its part in the text encoder acts merged"
    merged = [name for name in names if name in in_texts and name in in_denoiser]
    if merged:
        yield f"the parts of {', '.join(map(repr, merged))} in text encoders act merged, as in the pipeline"
    for name in enabled:
        if name not in names:
            yield f"adapter {name!r} is active in the pipeline, but neither composed nor kept: it rests"
