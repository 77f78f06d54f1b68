"""Open a Stable Diffusion 1.x, 2.x or XL model from a folder of diffusers or a single file; no pickles.

A folder's list of parts (model_index.json) may name modules of somebody's own, so these are refused.

Transformers 5 writes a tokenizer as one file, and a CLIP text encoder's weights without the first part of
their names. Transformers 4 does not find either: the one it refuses, and of the other it says in a log that
the weights are missing, and goes on with random ones.
"""

from __future__ import annotations

import json
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
from safetensors.torch import load_file
from transformers import CLIPTokenizer, CLIPTokenizerFast
from transformers.utils import logging as transformers_log

Device = str | torch.device | None
DType = str | torch.dtype | None

_PIPELINES: Final = (StableDiffusionPipeline, StableDiffusionXLPipeline)
_CLASSES: Final[Mapping[str, Any]] = MappingProxyType({kind.__name__: kind for kind in _PIPELINES})
_DTYPES: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
)
_NO_SAFETY_CHECKER: Final[Mapping[str, Any]] = MappingProxyType(
    {"safety_checker": None, "requires_safety_checker": False}
)
# What diffusers, transformers and safetensors raise for files that are missing, damaged or of another model.
_LOADING_ERRORS: Final = (
    *(OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError),
)
_GIVE: Final = "Give a folder in the format of diffusers or a .safetensors file."
_NO_HUB: Final = (
    " Names of models on the hub are not taken: fetch the model first, with diffusers "
    "(DiffusionPipeline.from_pretrained(name).save_pretrained(folder)), and give that folder."
)
_NEEDS_CONFIGURATION: Final = (
    "A single file holds no configuration and no tokenizer: diffusers takes them from its cache or from the "
    "hub. Without a connection give `config` (--config on the command line), a folder in the format of "
    "diffusers of the same model family."
)
# Where diffusers may import a part's class from. It imports any module that the file names, before anything
# else is checked, so another name could be a module of somebody's own.
_LIBRARIES: Final = ("diffusers", "transformers", "stable_diffusion")
# What transformers 5 leaves out of the names of a text encoder's weights.
_FIRST_PART: Final = "text_model."


class ModelError(ValueError):
    """A model that cannot be opened or used; the message names the path, the reason and the remedy."""


def pick_device(device: Device) -> torch.device:
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
        remedy = "Use cpu, or a PyTorch that knows it."
        raise ModelError(f"The device {str(chosen)!r} is not available here. {remedy}") from error
    return chosen


def pick_dtype(dtype: DType, device: torch.device) -> torch.dtype:
    """The dtype asked for; None: float16 on CUDA, else float32. Raises ModelError for others."""
    if dtype is None:
        return torch.float16 if device.type == "cuda" else torch.float32
    chosen = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in _DTYPES.values():
        raise ModelError(f"Unknown dtype {dtype!r}. Use one of: {', '.join(_DTYPES)}.")
    return chosen


def open_pipeline(path: Path, device: Device, dtype: DType, config: str | Path | None, offline: bool) -> Any:
    """A StableDiffusionPipeline or StableDiffusionXLPipeline, ready on `device`; see `DiffusersHost.open`."""
    device = pick_device(device)
    dtype = pick_dtype(dtype, device)
    if path.is_dir():
        pipeline = _open_folder(path, dtype)
    elif path.is_file():
        pipeline = _open_file(path, dtype, config, offline)
    else:
        hint = _NO_HUB if len(path.parts) == 2 and not path.parent.exists() else ""
        raise ModelError(f"No model at {path}. {_GIVE}{hint}")
    check_pipeline(pipeline, str(path))
    pipeline.set_progress_bar_config(disable=True)
    if any(part.dtype != dtype for part in (*components(pipeline).values(), pipeline.vae)):
        pipeline.to(dtype)  # a loader may have kept the files' own
    return pipeline.to(device)


def _open_folder(folder: Path, dtype: torch.dtype) -> Any:
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{folder} is not a model: it has no model_index.json. {_GIVE}")
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
    options: dict[str, Any] = {} if xl else dict(_NO_SAFETY_CHECKER)
    options |= (
        {"local_files_only": False} if config is None else {"local_files_only": True, "config": str(config)}
    )
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
    if not isinstance(pipeline, _PIPELINES):
        raise ModelError(f"{where}: a {type(pipeline).__name__} is not one of {', '.join(_CLASSES)}.")
    second = ("text_encoder_2", "tokenizer_2") if is_xl(pipeline) else ()
    needed = ("unet", "vae", "text_encoder", "tokenizer", "scheduler", *second)
    missing = [part for part in needed if getattr(pipeline, part, None) is None]
    if missing:
        reason = f"the model has no {', '.join(missing)} (a refiner has no first text encoder)."
        raise ModelError(f"{where}: {reason}")
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


def read_model_index(folder: Path) -> dict[str, Any]:
    """The entries of ``folder``/model_index.json; "_class_name" is a text, parts are [library, class].

    Raises ModelError where the file cannot be read, names no class of pipeline, or has a part that is neither
    [null, null] nor a class of diffusers or transformers.
    """
    file = folder / "model_index.json"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        name = entries["_class_name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read as a list of a model's parts: {error}") from error
    if not isinstance(name, str):
        must = "it must be the name of a pipeline of diffusers."
        raise ModelError(f"{file}: _class_name is {json.dumps(name)[:80]}; {must}")
    for part, value in entries.items():
        if not part.startswith("_") and not _is_allowed(value):
            raise ModelError(
                f"{file}: the part {part!r} is {json.dumps(value)[:80]}; it must be [null, null] or a class "
                f"of {', '.join(_LIBRARIES)}, as text. Code that comes with a model is not run."
            )
    return dict(entries)


def _is_allowed(value: object) -> bool:
    if value is None or isinstance(value, (bool, int, float)):  # an option of the pipeline, not a part
        return True
    if not isinstance(value, list) or len(value) != 2:
        return False
    library, kind = value
    return (library is None and kind is None) or (library in _LIBRARIES and isinstance(kind, str))


def fast_tokenizers(folder: Path, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Part → tokenizer, for those that diffusers cannot load here; nothing with transformers 5.

    With transformers 4 the class that models name reads the older pair of files alone.
    """
    if "tokenizer_file" in CLIPTokenizer.vocab_files_names:
        return {}
    return {
        part: CLIPTokenizerFast.from_pretrained(str(folder / part), local_files_only=True)
        for part in ("tokenizer", "tokenizer_2")
        if part in parts
        and (folder / part / "tokenizer.json").is_file()
        and not (folder / part / "vocab.json").is_file()
    }


def mend_text_encoders(pipeline: Any, folder: Path) -> None:
    """Give text encoders the weights that their file has under other names; RuntimeError if it lacks some."""
    for part in ("text_encoder", "text_encoder_2"):
        encoder, file = getattr(pipeline, part, None), folder / part / "model.safetensors"
        if encoder is None or not file.is_file():
            continue
        wanted = encoder.state_dict()
        with safe_open(str(file), framework="pt") as header:
            saved = set(header.keys())
        shortened = {name for name in wanted if name.removeprefix(_FIRST_PART) in saved - set(wanted)}
        if shortened:
            weights = load_file(file)
            found = {name: weights[name.removeprefix(_FIRST_PART)] for name in shortened}
            encoder.load_state_dict({**wanted, **found})
