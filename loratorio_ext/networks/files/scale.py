"""The scale alpha / rank of layers that have no alpha of their own: PEFT's configuration.

diffusers writes it into the header ("lora_adapter_metadata", diffusers/loaders/lora_base.py), PEFT into
adapter_config.json in the file's folder (`PeftModel.save_pretrained`). Of both come `lora_alpha`,
`use_rslora`, and `alpha_pattern`, whose keys are regular expressions (peft/utils/other.py,
`get_pattern_key`): the first that matches the whole module path, or its end after a dot, counts.
`ss_network_alpha` of kohya's trainer is read by no tool: there alpha is a tensor, or the scale is 1.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from loratorio_ext.networks.files.container import Header, NetworkFileError
from loratorio_ext.networks.files.patterns import steps
from loratorio_ext.networks.problems import shown

SIDECAR = "adapter_config.json"
MAX_SIDECAR = 2**20
"""Largest adapter_config.json, or header entry with the same, in bytes; today's have 200,000 at most."""
MAX_PATTERNS = 2_000
MAX_PATTERN_TEXT = 200_000
"""Most characters of patterns in all; one for each layer of SDXL has 60,000."""
MAX_STEPS = 6_000_000
"""Most steps that matching one pattern may take (`patterns`): a fraction of a second."""
MAX_SECONDS = 1.0
"""Longest time in all that the patterns of a file are read and matched."""
_PEFT, _OWN_NAME = "base_model.model.", "adapter_model.safetensors"
# Starts that put a part of the trained change into the base, so that the file is not the whole of it.
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq")


class AdapterConfig:
    """PEFT's configuration of one file, hostile.

    values: as JSON gave it; empty without one. problem: why the scale is unknown although it should be told.
    """

    def __init__(self, path: Path, values: Mapping[str, object], problem: str = "") -> None:
        """NetworkFileError where the trained change is not the file's alone."""
        self.values = values
        self.problem = problem
        self._path = path
        self._components = frozenset(key.partition(".")[0] for key in values if "." in key)
        self._left = MAX_SECONDS
        self._patterns: dict[str, list[tuple[re.Pattern[str], object]]] = {}
        start = self._value("", "init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_CHANGED_BASE):
            reason = (
                f"it was started as {shown(start, 24)}, which also changes the model itself; save it with"
            )
            raise NetworkFileError(path, f"{reason} peft's path_initial_model_for_weight_conversion")

    def scale(self, component: str, names: Sequence[str], rank: int | None) -> float:
        """The scale of one layer; 1, and a `problem`, where the configuration says nothing usable.

        component: "unet", "text_encoder", ...; names: spellings of the module path in it. rank: None for a
        type whose factors have none, which PEFT scales all the same.

        Raises NetworkFileError where a pattern is none, or matching could take too long.
        """
        if not self.values:
            return 1.0
        prefix = f"{component}." if component in self._components else ""
        if rank is None and self._value(prefix, "peft_type") != "LOKR":
            return 1.0
        alpha = self._value(
            prefix, "lora_alpha" if self._value(prefix, "lora_alpha") is not None else "alpha"
        )
        alpha = self._matching(f"{prefix}alpha_pattern", names, alpha)
        divisor: Any = rank
        if rank is None:
            divisor = self._matching(f"{prefix}rank_pattern", names, self._value(prefix, "r"))
        if not (_is_number(alpha) and _is_number(divisor) and divisor > 0):
            self.problem = (
                f"the adapter's configuration gives {shown(str(alpha), 24)} as alpha, which is no number"
            )
            return 1.0
        return float(alpha) / (math.sqrt(divisor) if self._value(prefix, "use_rslora") is True else divisor)

    def _value(self, prefix: str, name: str) -> Any:
        return self.values.get(prefix + name)

    def _compiled(self, key: str, deadline: float) -> list[tuple[re.Pattern[str], object]]:
        patterns = self.values.get(key)
        if not isinstance(patterns, dict):
            return []
        if len(patterns) > MAX_PATTERNS:
            raise self._unknown(f"its {shown(key)} has {len(patterns)} patterns, more than {MAX_PATTERNS}")
        if (length := sum(map(len, patterns))) > MAX_PATTERN_TEXT:
            reason = f"the patterns of its {shown(key)} have {length} characters, more than"
            raise self._unknown(f"{reason} {MAX_PATTERN_TEXT}")
        compiled = []
        for pattern, alpha in patterns.items():
            self._check_time(key, deadline)
            compiled.append((self._expression(key, pattern), alpha))
        return compiled

    def _expression(self, key: str, pattern: str) -> re.Pattern[str]:
        try:
            if len(pattern) > 1000 or steps(pattern) > MAX_STEPS:
                raise ValueError("matching it could take too long")
            return re.compile(rf"(.*\.)?({pattern})$")
        except (ValueError, OverflowError, RecursionError, re.error) as error:
            reason = (
                f"the pattern {shown(pattern)} of its {shown(key)} cannot be used ({shown(str(error), 80)})"
            )
            raise self._unknown(reason) from error

    def _unknown(self, reason: str) -> NetworkFileError:
        remedy = "so the scale of its layers is unknown; ask for a version with alpha tensors"
        return NetworkFileError(self._path, f"{reason}, {remedy}")

    def _matching(self, key: str, names: Sequence[str], otherwise: object) -> Any:
        deadline = time.thread_time() + self._left
        if key not in self._patterns:
            self._patterns[key] = self._compiled(key, deadline)
        names = [*dict.fromkeys(names)]
        for pattern, alpha in self._patterns[key]:
            if any(map(pattern.match, names)):
                otherwise = alpha
                break
            self._check_time(key, deadline)
        self._left = deadline - time.thread_time()
        return otherwise

    def _check_time(self, key: str, deadline: float) -> None:
        if time.thread_time() > deadline:
            raise self._unknown(f"matching its {shown(key)} takes longer than {MAX_SECONDS:g} s")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63


def sidecar(path: Path) -> Path | None:
    """The adapter_config.json that belongs to a network file, None where it has none.

    It belongs to PEFT's own name for the file, and to a file of another name if no other network lies beside.
    """
    beside = path.with_name(SIDECAR)
    try:
        if not beside.is_file():
            return None
        alone = path.name == _OWN_NAME or len([*path.parent.glob("*.safetensors")]) == 1
    except OSError:
        return None
    return beside if alone else None


def _object(text: str | bytes) -> Mapping[str, object] | None:
    """A JSON object; None for everything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return MappingProxyType(values) if isinstance(values, dict) else None


def adapter_config(path: Path, header: Header) -> AdapterConfig:
    """What PEFT says of a file: in its header, or beside a file with PEFT's key names. As `AdapterConfig`."""
    said = header.metadata.get("lora_adapter_metadata")
    if said is not None:
        values = _object(said) if len(said) <= MAX_SIDECAR else None
        return AdapterConfig(
            path, values or {}, "" if values else "its lora_adapter_metadata is not readable"
        )
    beside = sidecar(path)
    # Tools take PEFT's prefix off the keys and leave the name of the file.
    own = any(_PEFT in key for key in header.shapes) or (path.name == _OWN_NAME and beside is not None)
    if not own or any(key.endswith(".alpha") for key in header.shapes):
        return AdapterConfig(path, {})
    if beside is None:
        return AdapterConfig(path, {}, f"peft keeps alpha in {SIDECAR}, which is not beside the file")
    try:
        with beside.open("rb") as file:
            text = file.read(MAX_SIDECAR + 1)
    except OSError:
        text = b""
    values = _object(text) if len(text) <= MAX_SIDECAR else None
    return AdapterConfig(path, values or {}, "" if values else f"{SIDECAR} beside the file is not readable")
