"""What is refused, each in a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from types import FrameType
from typing import Any, Final

from torch import nn

from loratorio_ext.hosts.pipelines.adapters import names_of, tuner_layers

_LIBRARIES: Final = frozenset({"loratorio_ext", "diffusers", "torch", "accelerate", "contextlib"})


def check_denoiser(pipeline: Any, denoiser: Any) -> None:
    """Raise ValueError where the pipeline is in a state in which its adapters cannot be composed."""
    kind = type(pipeline).__name__
    if not isinstance(denoiser, nn.Module):
        raise ValueError(f"{kind} has no denoiser: it is {denoiser!r}")
    modules = list(denoiser.modules())
    if any(_is_compiled(module) for module in modules):
        raise ValueError(
            f"the denoiser of {kind} is compiled: what networks add goes by hooks, which a compiled model "
            "may leave out in silence; load the pipeline anew and do not compile it"
        )
    if getattr(denoiser, "is_cache_enabled", False):
        raise ValueError(
            f"the denoiser of {kind} caches between steps (enable_cache), and networks would be given each "
            "other's results; call disable_cache() first"
        )
    if any(getattr(module, "fused_projections", False) for module in modules):
        raise ValueError(
            f"{kind} has fused qkv projections, through which networks cannot act; call "
            "unfuse_qkv_projections() first"
        )
    merged = sorted({name for layer in tuner_layers(denoiser).values() for name in layer.merged_adapters})
    if merged:
        raise ValueError(
            f"the adapters {', '.join(map(repr, merged))} of {kind} are fused into the weights and would act "
            "everywhere; call unfuse_lora() first"
        )
    if getattr(getattr(denoiser, "config", None), "zero_cond_t", False):
        raise ValueError(
            "this Qwen-Image model has a second timestep for its references (zero_cond_t), whose rows cannot "
            "be told apart from those of other networks; take another model, or merge the adapters"
        )
    if getattr(pipeline, "transformer_2", None) is not None:
        raise ValueError(f"{kind} has two denoisers (transformer_2); only models with one are composed")


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule" or (
        getattr(module, "_compiled_call_impl", None) is not None
    )


def active_adapters(models: Sequence[nn.Module], loaded: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """(the adapters that the pipeline has been told to use, warnings about them).

    Of the adapters loaded into these models, the active ones; but all where each model has active what it has
    loaded last, since loading does that, and `set_adapters` need not have been called.
    """
    found: set[str] = set()
    is_chosen = is_likely = is_off = False
    for model in models:
        layers = list(tuner_layers(model).values())
        names = names_of(layers)
        if not names:
            continue
        active = {name for layer in layers for name in layer.active_adapters} & set(names)
        last = [name for name in getattr(model, "peft_config", names) if name in names][-1:]
        found |= active
        is_off |= any(layer.disable_adapters for layer in layers)
        is_chosen |= [*active] != last
        # What set_adapters leaves behind; loading does so with some versions of PEFT alone.
        is_likely |= len(names) > 1 and {name for name in names if _learns(layers, name)} == active
    off = ["the pipeline's adapters are disabled (disable_lora), but are composed all the same"] * is_off
    resting = ", ".join(repr(name) for name in loaded if name not in found)
    if is_chosen and found:
        warning = f"{resting} loaded, but not active in the pipeline (set_adapters): at rest"
        return tuple(name for name in loaded if name in found), off + [warning] * bool(resting)
    warning = f"{resting} loaded, but not active in the pipeline, as after loading: composed all the same"
    remedy = f"; to compose what is active alone, write compose(pipe, {sorted(found)})"
    return tuple(loaded), off + [warning + remedy] * (bool(resting) and is_likely)


def _learns(layers: Sequence[Any], name: str) -> bool:
    parts = [getattr(layer, attribute) for layer in layers for attribute in layer.adapter_layer_names]
    modules = [part[name] for part in parts if name in part]
    parameters = [
        p for one in modules for p in ([one] if isinstance(one, nn.Parameter) else one.parameters())
    ]
    return any(parameter.requires_grad for parameter in parameters)


def check_names(adapters: object, keep: object) -> None:
    """Raise ValueError where these arguments of `compose` are no names, whatever is loaded."""
    for argument, value in (("adapters", adapters), ("keep", keep)):
        names = value if isinstance(value, Collection) and not isinstance(value, (str, Mapping)) else [None]
        if value is not None and not all(isinstance(name, str) for name in names):
            such = [value] if isinstance(value, str) else ["star", "grid"]
            raise ValueError(
                f"{argument} is {value!r:.80}; give a list of names, such as {such} (strengths go to "
                "set_adapters, and settings to settings=)"
            )


def choose_adapters(
    adapters: Sequence[str] | None, keep: Sequence[str], loaded: Sequence[str]
) -> tuple[str, ...]:
    """All of the loaded adapters that act, composed ones first; arguments as `compose` was given them.

    ValueError: there is none, or a name is unknown, or given twice.
    """
    if not loaded:
        raise ValueError(
            "the pipeline has no adapters: load some with load_lora_weights(..., adapter_name=...) first"
        )
    composed = [name for name in loaded if name not in keep] if adapters is None else list(adapters)
    names = (*composed, *keep)
    for name in names:
        if name not in loaded:
            near = get_close_matches(name, loaded, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"loaded are {', '.join(map(repr, loaded))}"
            raise ValueError(f"there is no adapter {name!r}; {hint}")
        if names.count(name) > 1:
            raise ValueError(f"adapter {name!r} is named twice; name it once, in adapters or in keep")
    return names


def check_caller(frame: FrameType | None, pipeline: Any, component: str, denoiser: Any) -> None:
    """Raise RuntimeError where not this pipeline calls its denoiser, told from the frames outwards."""
    kind = type(pipeline).__name__
    if getattr(pipeline, component) is not denoiser:
        raise RuntimeError(
            f"the {component} of this {kind} was replaced or compiled inside compose(), where networks may "
            "be left out in silence; do not compile it, and replace it before compose() begins"
        )
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_varnames[:1] == ("self",) else None
        if owner is pipeline:
            return
        if owner is not None and getattr(owner, component, None) is denoiser:
            other = type(owner).__name__
            raise RuntimeError(
                f"a {other} calls the {component} that it shares with the composed {kind}; compose that one "
                f"instead: with compose(<the {other}>)"
            )
        frame = frame.f_back
    raise RuntimeError(
        f"the {component} is called by something else than the {kind} that is composed; call the pipeline "
        "itself inside compose()"
    )


def caller_level(frame: FrameType | None) -> int:
    """How far outwards the first frame lies that is of no library: `warnings.warn`'s stacklevel there."""
    level = 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES:
        frame, level = frame.f_back, level + 1
    return level
