"""`compose`: the adapters of a diffusers pipeline act place by place while a context is open.

By torch's hooks around the denoiser's call. Hooks of diffusers take the place of `forward`, which accelerate
puts back after every picture where models are offloaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from loratorio_ext.hosts.pipelines.adapters import acting, names_of, read_adapter, resting, tuner_layers
from loratorio_ext.hosts.pipelines.checks import check_denoiser, choose_adapters
from loratorio_ext.hosts.pipelines.evaluation import Call
from loratorio_ext.hosts.pipelines.families import Family, family_of
from loratorio_ext.hosts.pipelines.generation import Generation
from loratorio_ext.run import Report
from loratorio_ext.settings import Settings


class PipelineComposition:
    """A pipeline whose adapters are composed; made by `compose`.

    Attributes:
        settings: of every generation.
    """

    def __init__(
        self,
        pipeline: Any,
        family: Family,
        names: Sequence[str],
        kept: frozenset[str],
        settings: Settings,
        warnings: Sequence[str],
    ) -> None:
        """Nothing is touched yet.

        Args:
            pipeline: whose adapters act.
            family: of the pipeline.
            names: of all adapters of the denoiser that act, in order.
            kept: those of them that act merged everywhere.
            settings: see the attribute.
            warnings: for every report.
        """
        self.settings = settings
        self._pipeline, self._family, self._names, self._kept = pipeline, family, names, kept
        self._warnings = warnings
        self._denoiser: nn.Module = getattr(pipeline, family.component)
        self._loaded = names_of(tuner_layers(self._denoiser).values())
        self._signature = inspect.signature(type(self._denoiser).forward)
        self._generation: Generation | None = None

    @property
    def report(self) -> Report | None:
        """Of the last generation; None before the first has begun.

        Where a pipeline asks for the unconditional by a call of its own (Flux, Qwen-Image, Wan), rows and
        calls are those of the conditional.
        """
        return None if self._generation is None else self._generation.run.report

    def before(
        self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Signature of `register_forward_pre_hook(..., with_kwargs=True)`."""
        given = dict(self._signature.bind(denoiser, *args, **kwargs).arguments)
        del given["self"]
        generation = self._generation
        if generation is None or generation.timesteps is not self._pipeline.scheduler.timesteps:
            self.end()
            generation = self._generation = self._begun()
        call = Call.of(denoiser, given, self._family, generation.layout)
        generation.before(call)
        return (), call.of_rows(range(call.rows))

    def after(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Signature of `register_forward_hook(..., with_kwargs=True)`."""
        return output if self._generation is None else self._generation.after(output)

    def end(self) -> None:
        """No further call belongs to the generation."""
        if self._generation is not None:
            self._generation.end()

    def _begun(self) -> Generation:
        layers = tuner_layers(self._denoiser)
        if names_of(layers.values()) != self._loaded or not all(
            layer.disable_adapters for layer in layers.values()
        ):
            raise RuntimeError(
                "adapters were loaded, enabled or deleted while others are composed, and would act twice or not "
                "at all; do that before compose() begins"
            )
        adapters = [read_adapter(name, self._family.component, layers) for name in self._names]
        generation = Generation(self._pipeline, self._family, adapters, self._kept, self.settings)
        for warning in self._warnings:
            generation.run.report.warn(warning)
        return generation


@contextmanager
def compose(
    pipeline: Any,
    adapters: Sequence[str] | None = None,
    *,
    keep: Sequence[str] = (),
    settings: Settings | None = None,
) -> Iterator[PipelineComposition]:
    """Compose the adapters that a pipeline has loaded, place by place, as long as the context is open.

    Inside it the pipeline is called as ever, any number of times. The adapters of the denoiser (`unet` or
    `transformer`) rest in PEFT meanwhile and act through hooks, at the strengths of `set_adapters`; their
    parts in text encoders act merged. Afterwards all is as before, also after an exception. Another pipeline
    that shares the denoiser must not be called inside: open a context for that one instead.

    Args:
        pipeline: of Stable Diffusion 1.x, 2.x, XL or 3, Flux, Qwen-Image, Z-Image or Wan (still pictures).
        adapters: the names of those to compose; None: all that are loaded and not in ``keep``.
        keep: names of those that act merged everywhere (acceleration networks, sliders).
        settings: None: the defaults. ``enabled`` and ``pool`` are not read.

    Yields:
        The composition, with the report of the last generation.

    Raises:
        ValueError: the pipeline, its state (compiled, fused, cached) or an adapter cannot be composed, or a
            name is not known; nothing has been changed.
    """
    settings = Settings() if settings is None else settings
    family = family_of(pipeline)
    denoiser = getattr(pipeline, family.component)
    check_denoiser(pipeline, denoiser)
    # The only trace of an open context.
    hooks = denoiser._forward_pre_hooks.values()
    if any(isinstance(getattr(hook, "__self__", None), PipelineComposition) for hook in hooks):
        raise ValueError("this pipeline is being composed already; end that context first")
    layers = tuner_layers(denoiser)
    encoders = [
        layer
        for name, component in pipeline.components.items()
        if name.startswith("text_encoder") and isinstance(component, nn.Module)
        for layer in tuner_layers(component).values()
    ]
    in_denoiser, in_texts = names_of(layers.values()), names_of(encoders)
    names = choose_adapters(adapters, keep, tuple(dict.fromkeys((*in_denoiser, *in_texts))))
    acting_names = [name for name in names if name in in_denoiser]
    for name in acting_names:
        read_adapter(name, family.component, layers)
    enabled = {
        name for layer in layers.values() if not layer.disable_adapters for name in layer.active_adapters
    }
    warnings = list(_warnings(names, in_denoiser, in_texts, enabled))
    if settings.pool:
        warnings.append("pool has no effect with a pipeline: load the networks that take part")
    composition = PipelineComposition(pipeline, family, acting_names, frozenset(keep), settings, warnings)
    with ExitStack() as stack:
        stack.enter_context(resting(layers.values()))
        stack.enter_context(acting(encoders, names))
        stack.callback(denoiser.register_forward_pre_hook(composition.before, with_kwargs=True).remove)
        stack.callback(denoiser.register_forward_hook(composition.after, with_kwargs=True).remove)
        stack.callback(composition.end)
        yield composition


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
