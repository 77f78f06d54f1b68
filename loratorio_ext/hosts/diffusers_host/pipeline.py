"""Open a Stable Diffusion 1.x, 2.x or XL model from a folder of diffusers or a single file; no pickles."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging as diffusers_log
from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_log

from loratorio_ext.hosts.diffusers_host.model_files import (
    ModelError,
    fast_tokenizers,
    mend_text_encoders,
    read_model_index,
)

_CLASSES: Final[Mapping[str, Any]] = MappingProxyType(
    {kind.__name__: kind for kind in (StableDiffusionPipeline, StableDiffusionXLPipeline)}
)
_DTYPES: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
)
_NO_SAFETY_CHECKER: Final[Mapping[str, Any]] = MappingProxyType(
    {"safety_checker": None, "requires_safety_checker": False}
)
# What diffusers, transformers and safetensors raise for files that are missing, damaged or of another model.
_LOADING_ERRORS: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    AttributeError,
    SafetensorError,
)
_NEEDS_CONFIGURATION: Final = (
    "A single file holds no configuration and no tokenizer: diffusers takes them from its cache or from the "
    "hub. Without a connection give `config` (--config on the command line), a folder in the format of "
    "diffusers of the same model family."
)


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for; None: CUDA where there is one, else the CPU. Raises ModelError for others."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"Unknown device {device!r}. Use cpu, cuda, cuda:1, mps, ...") from error
    if chosen.type == "meta":
        raise ModelError("The device 'meta' holds no values, so nothing can be drawn on it. Use cpu or cuda.")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, ImportError) as error:  # each kind of device has its own
        raise ModelError(
            f"The device {str(chosen)!r} is not available here. Use cpu, or a PyTorch that knows it."
        ) from error
    return chosen


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype asked for; None: float16 on CUDA, else float32. Raises ModelError for others."""
    if dtype is None:
        return torch.float16 if device.type == "cuda" else torch.float32
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in _DTYPES.values():
        raise ModelError(f"Unknown dtype {dtype!r}. Use one of: {', '.join(_DTYPES)}.")
    return chosen


def open_pipeline(
    path: Path, device: torch.device, dtype: torch.dtype, config: str | Path | None, offline: bool
) -> Any:
    """A StableDiffusionPipeline or StableDiffusionXLPipeline, ready on `device`; see `DiffusersHost.open`."""
    if path.is_dir():
        pipeline = _open_folder(path, dtype)
    elif path.is_file():
        pipeline = _open_file(path, dtype, config, offline)
    else:
        raise ModelError(
            f"No model at {path}. Give a folder in the format of diffusers or a .safetensors file."
        )
    check_pipeline(pipeline, str(path))
    pipeline.set_progress_bar_config(disable=True)
    if any(part.dtype != dtype for part in (*components(pipeline).values(), pipeline.vae)):
        pipeline.to(dtype)  # a loader may have kept the files' own
    return pipeline.to(device)


def _open_folder(folder: Path, dtype: torch.dtype) -> Any:
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} is not a model: it has no model_index.json. "
            "Give a folder in the format of diffusers or a .safetensors file."
        )
    parts = read_model_index(folder)
    name = parts["_class_name"]
    if name not in _CLASSES:
        raise ModelError(f"{folder} holds a {name}. This host opens: {', '.join(_CLASSES)}.")
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    if "safety_checker" in parts:
        options |= _NO_SAFETY_CHECKER
    try:
        tokenizers = fast_tokenizers(folder, parts)
        options |= dict.fromkeys(tokenizers)
        pipeline = _load(_CLASSES[name].from_pretrained, folder, dtype, options)
        pipeline.register_modules(**tokenizers)
        mend_text_encoders(pipeline, folder)
        return pipeline
    except _LOADING_ERRORS as error:
        raise ModelError(f"The model in {folder} cannot be loaded: {_first_line(error)}") from error


def _open_file(file: Path, dtype: torch.dtype, config: str | Path | None, offline: bool) -> Any:
    if file.suffix.lower() != ".safetensors":
        raise ModelError(
            f"{file} is not a .safetensors file. Other formats can run code when they are opened; "
            "convert it to .safetensors first."
        )
    if config is not None:
        if not (Path(config) / "model_index.json").is_file():
            raise ModelError(f"The configuration folder {config} has no model_index.json.")
        read_model_index(Path(config))
    try:
        with safe_open(str(file), framework="pt") as header:
            xl = any(key.startswith("conditioner.embedders.1.") for key in header.keys())  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is damaged or not in the safetensors format: {error}") from error
    if offline and config is None:
        # Not left to diffusers: its from_single_file asks the hub even with local_files_only where its cache
        # holds nothing (diffusers/loaders/single_file.py).
        raise ModelError(f"{file} cannot be opened offline. {_NEEDS_CONFIGURATION}")
    kind = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
    options: dict[str, Any] = {"local_files_only": config is not None}
    if config is not None:
        options["config"] = str(config)
    if not xl:
        options |= _NO_SAFETY_CHECKER
    try:
        return _load(kind.from_single_file, file, dtype, options)
    except _LOADING_ERRORS as error:
        remedy = f"Is {config} of the same model family?" if config is not None else _NEEDS_CONFIGURATION
        raise ModelError(f"{file} cannot be opened: {_first_line(error)} {remedy}") from error


def _load(loader: Any, path: Path, dtype: torch.dtype, options: dict[str, Any]) -> Any:
    with warnings.catch_warnings(), no_progress_bars():
        # Newer releases of diffusers call this argument `dtype`, older ones know only this name.
        warnings.filterwarnings("ignore", message=".*torch_dtype.*", category=FutureWarning)
        return loader(str(path), torch_dtype=dtype, **options)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """The libraries' bars while loading off, and afterwards as they were."""
    on = [log for log in (diffusers_log, transformers_log) if log.is_progress_bar_enabled()]
    for log in on:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in on:
            log.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}."


def check_pipeline(pipeline: Any, where: str) -> None:
    """Raise ModelError unless `pipeline` is a text-to-image Stable Diffusion with all its parts."""
    if not isinstance(pipeline, (StableDiffusionPipeline, StableDiffusionXLPipeline)):
        raise ModelError(f"{where}: a {type(pipeline).__name__} is not one of {', '.join(_CLASSES)}.")
    second = ("text_encoder_2", "tokenizer_2") if is_xl(pipeline) else ()
    needed = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", *second)
    missing = [part for part in needed if getattr(pipeline, part, None) is None]
    if missing:
        raise ModelError(
            f"{where}: the model has no {', '.join(missing)} (a refiner has no first text encoder)."
        )
    takes, latent = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
    if takes != latent:
        raise ModelError(
            f"{where}: the UNet takes {takes} channels, the latent has {latent} "
            "(inpainting and picture-editing models are not text-to-image)."
        )


def is_xl(pipeline: Any) -> bool:
    """Whether `pipeline` is Stable Diffusion XL, with two text encoders, pooled text and time ids."""
    return isinstance(pipeline, StableDiffusionXLPipeline)


def components(pipeline: Any) -> dict[str, Any]:
    """The parts that networks touch, by the first part of a layer name: unet, text_encoder, ..."""
    names = ("unet", "text_encoder", "text_encoder_2") if is_xl(pipeline) else ("unet", "text_encoder")
    return {name: getattr(pipeline, name) for name in names}
