"""Schedulers of diffusers by name: the class's own, or the name that users of a WebUI know."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import diffusers
import torch
from torch import Tensor

from loratorio_ext.hosts.diffusers_host.spaces import PREDICTION_TYPES

# WebUI's name → diffusers' class, what to set on it.
SAMPLERS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        "DDIM": ("DDIMScheduler", {}),
        "DDPM": ("DDPMScheduler", {}),
        "Euler": ("EulerDiscreteScheduler", {}),
        "Euler a": ("EulerAncestralDiscreteScheduler", {}),
        "Heun": ("HeunDiscreteScheduler", {}),
        "LMS": ("LMSDiscreteScheduler", {}),
        "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
        "DPM2": ("KDPM2DiscreteScheduler", {}),
        "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
        "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
        "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        "DPM++ 2S": ("DPMSolverSinglestepScheduler", {}),
        "DPM++ SDE": ("DPMSolverSDEScheduler", {}),
        "DEIS": ("DEISMultistepScheduler", {}),
        "UniPC": ("UniPCMultistepScheduler", {}),
        "SA-Solver": ("SASolverScheduler", {}),
        "LCM": ("LCMScheduler", {}),
        "TCD": ("TCDScheduler", {}),
    }
)
_KARRAS: Final = " karras"


def usable_samplers(default: Any) -> tuple[str, ...]:
    """The names that `make_scheduler` can make of a model's scheduler; the one that equals it first.

    With " Karras" where the scheduler knows that spacing, without those whose package is missing. A model's
    scheduler that no short name means exactly stands first under its class's name.
    """
    own = sampler_name(make_scheduler(None, default), default)
    names = [name for short in SAMPLERS for name in (short, short + _KARRAS.title())]
    return (own, *(name for name in names if name != own and _made(name, default) is not None))


def sampler_name(scheduler: Any, default: Any) -> str:
    """The name by which `make_scheduler` makes an equal scheduler of the model's.

    The short name, where one means exactly this scheduler, else its class's name. Of several the one that
    says most: another model's scheduler need not be set as this one's is.
    """
    kind = type(scheduler).__name__
    for short in reversed([short for short, (class_name, _) in SAMPLERS.items() if class_name == kind]):
        for name in (short + _KARRAS.title(), short):
            made = _made(name, default)
            if made is not None and dict(made.config) == dict(scheduler.config):
                return name
    return kind


def _made(name: str, default: Any) -> Any | None:
    try:
        return make_scheduler(name, default)
    except ValueError:
        return None


def make_scheduler(sampler: Any, default: Any) -> Any:
    """A fresh scheduler of its own for one sampling pass.

    `sampler`: None (the model's own kind), a short name ("Euler a", "DPM++ 2M Karras"), a class name of
    diffusers ("EulerDiscreteScheduler"), upper or lower case alike, the class itself, or a scheduler, which
    is copied and so never changed. `default`: the model's scheduler; a named one takes over its configuration
    (betas, what the UNet predicts).

    Raises ValueError for a name that is not known and a scheduler that does not fit Stable Diffusion.
    """
    if sampler is None or isinstance(sampler, str):
        scheduler = type(default).from_config(default.config) if sampler is None else _named(sampler, default)
    elif inspect.isclass(sampler) and hasattr(sampler, "from_config"):
        scheduler = sampler.from_config(default.config)
    else:
        scheduler = copy.deepcopy(sampler)
    prediction = getattr(getattr(scheduler, "config", None), "prediction_type", None)
    if not hasattr(scheduler, "alphas_cumprod") or prediction not in PREDICTION_TYPES:
        raise ValueError(
            f"The scheduler {type(scheduler).__name__} (prediction type {prediction!r}) does not fit Stable "
            f"Diffusion, whose predictions are one of {', '.join(PREDICTION_TYPES)}. "
            f"Choose one of: {', '.join(SAMPLERS)}."
        )
    return scheduler


def _named(name: str, default: Any) -> Any:
    wanted = " ".join(name.lower().split())
    options: dict[str, Any] = {"use_karras_sigmas": True} if wanted.endswith(_KARRAS) else {}
    wanted = wanted.removesuffix(_KARRAS)
    for short, (class_name, settings) in SAMPLERS.items():
        if wanted in (short.lower(), class_name.lower(), class_name.lower().removesuffix("scheduler")):
            # By class name the class's own defaults hold; by short name what that name means.
            options = {**(settings if wanted == short.lower() else {}), **options}
            break
    else:
        close = difflib.get_close_matches(wanted, map(str.lower, SAMPLERS), n=1)
        hint = "".join(f" Did you mean {known!r}?" for known in SAMPLERS if known.lower() in close)
        raise ValueError(f"Unknown sampler {name!r}.{hint} Known: {', '.join(SAMPLERS)}.")
    scheduler_class = getattr(diffusers, class_name)
    known = inspect.signature(scheduler_class.__init__).parameters
    unknown = ", ".join(key for key in options if key not in known)
    if unknown:
        raise ValueError(f"No sampler {name!r}: {scheduler_class.__name__} has no option {unknown}.")
    try:
        return scheduler_class.from_config(default.config, **options)
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"The sampler {name!r} needs a package that is missing: {reason}") from error
    except RuntimeError as error:  # what diffusers has not implemented
        reason = f"cannot take over the settings of this model's own ({error}); choose another."
        raise ValueError(f"The sampler {name!r} {reason}") from error


def set_steps(scheduler: Any, steps: int, device: torch.device, skipped: int = 0) -> Tensor:
    """Prepare `scheduler` for `steps` steps; gives its timesteps, one per evaluation of the UNet.

    The first `skipped` steps are left out, where a picture is there already. Second-order schedulers ask for
    more evaluations than steps.
    """
    try:
        scheduler.set_timesteps(steps, device=device)
    except (ValueError, IndexError, ImportError) as error:
        raise ValueError(f"{type(scheduler).__name__} cannot make {steps} steps: {error}") from error
    timesteps: Tensor = scheduler.timesteps
    # With an offset, as many steps as the model has timesteps reach past its last one.
    first, known = float(timesteps.max()), scheduler.config.num_train_timesteps
    if first > known - 1:
        raise ValueError(
            f"{type(scheduler).__name__} cannot make {steps} steps: they would begin at timestep {first:g}, "
            f"and the model's last is {known - 1}; ask for fewer steps, for example {steps - 1}"
        )
    begin = skipped * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)  # else it looks its place up by comparing timesteps on the device
    return timesteps[begin:]


def step_arguments(
    scheduler: Any, generators: Sequence[torch.Generator], seeds: Sequence[int]
) -> dict[str, Any]:
    """Keyword arguments for `scheduler.step` that make its noise come from each image's own generator."""
    if hasattr(scheduler, "noise_sampler_seed"):
        scheduler.noise_sampler_seed = list(seeds)  # Brownian trees are seeded, they take no generators
    accepted = inspect.signature(scheduler.step).parameters
    return {"generator": list(generators)} if "generator" in accepted else {}
