"""What is asked of every WebUI under the same names: the one shared file that names their modules.

File references are to AUTOMATIC1111's v1.10.1 (commit 82a973c0); lllyasviel/stable-diffusion-webui-forge,
commit dfdcbab6, has the same there. ``networks`` is the module of the built-in Lora extension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import networks as lora_networks
from modules import images, launch_utils, paths_internal, processing, sd_models, shared
from PIL import Image

from loratorio_ext.hosts.webuis.adapter import Api, LoadedNetwork, Picture
from loratorio_ext.hosts.webuis.conditions import encode_pass
from loratorio_ext.server.options import OPTIONS, option_key


def keeps_conds() -> bool:
    """Whether the user wants conditions kept from one generation to the next."""
    return bool(shared.opts.persistent_cond_cache)


class WebuiServices(ABC):
    """What pages, API and all generations ask of a WebUI; each adapter implements the abstract methods."""

    name: str

    @abstractmethod
    def obstacle(self) -> str | None:
        """Why nothing can be composed with the model that is loaded now, or None; loads none."""

    @abstractmethod
    def remark(self) -> str | None:
        """What cannot be composed with it, though the rest can, or None."""

    def model_name(self) -> str | None:
        """Which Stable Diffusion is loaded now; None for other models, and where none is."""
        model = sd_models.model_data.sd_model  # `shared.sd_model` would load one
        names = {"is_sd1": "Stable Diffusion 1.x", "is_sd2": "Stable Diffusion 2.x", "is_sdxl": "SDXL"}
        return next((name for mark, name in names.items() if getattr(model, mark, False)), None)

    @abstractmethod
    def model_identity(self) -> Hashable:
        """Changes when another checkpoint is loaded, also into the same modules."""

    @abstractmethod
    def collect_memory(self) -> None:
        """Give memory that nothing uses back to the device."""

    # ------------------------------------------------ networks (networks.py of the built-in extension)

    def loaded(self) -> list[LoadedNetwork]:
        """What the WebUI has loaded for the prompt, including networks to be kept merged."""
        return [
            LoadedNetwork(one.mentioned_name, one.network_on_disk.filename)
            for one in lora_networks.loaded_networks
        ]

    def available_files(self) -> dict[str, str]:
        """File stem or alias → file, exactly as a tag finds them (``load_networks``).

        A stem wins over another file's alias; an alias that two files share finds neither.
        """
        refused, aliases = lora_networks.forbidden_network_aliases, lora_networks.available_network_aliases
        listed = {name: one for name, one in aliases.items() if name.lower() not in refused}
        return {name: one.filename for name, one in (listed | lora_networks.available_networks).items()}

    def refresh_networks(self) -> None:
        """Look at the folder of networks again."""
        lora_networks.list_available_networks()

    # ------------------------------------------------ conditions

    def encode(self, p: Any) -> tuple[Any, Any]:
        """(c, uc) of the pass that ``p`` is in, by the text encoders as they are now.

        uc is None on Forge at a CFG scale of 1.
        """
        return encode_pass(p, processing.StableDiffusionProcessing.setup_conds)

    # ------------------------------------------------ progress

    def say_while_working(self, text: str | None) -> None:
        """Show a text beside the progress bar; None: none."""
        shared.state.textinfo = text

    def announce(self, rows: int, plain_rows: int) -> None:
        """Show how many predictions the coming step makes, and how many a plain one would."""
        self.say_while_working(f"LoRAtorio: {rows} predictions at this step instead of {plain_rows}")

    def was_stopped(self) -> bool:
        """Whether the user has interrupted the generation or skipped the current picture."""
        return bool(shared.state.interrupted or shared.state.skipped)

    # ------------------------------------------------ the gallery (modules/processing.py, process_images)

    def entries_of_picture(self, p: Any) -> int:
        """How many entries of the gallery belong to one picture: itself, and masks where they are shown."""
        if getattr(p, "mask_for_overlay", None) is None:
            return 1
        return 1 + bool(shared.opts.return_mask) + bool(shared.opts.return_mask_composite)

    def marks_pictures(self) -> bool:
        """Whether the user wants infotexts in pictures."""
        return bool(shared.opts.enable_pnginfo)

    def save_picture(self, p: Any, image: Image.Image, picture: Picture, suffix: str) -> None:
        """Save an image under the name of the current picture of ``p``, with a suffix."""
        images.save_image(
            image,
            p.outpath_samples,
            "",
            picture.seed,
            picture.prompt,
            shared.opts.samples_format,
            info=picture.infotext,
            p=p,
            suffix=suffix,
        )

    # ------------------------------------------------ the server

    def network_folder(self) -> str:
        """The folder in which the WebUI looks for networks."""
        return str(shared.cmd_opts.lora_dir)

    def version(self) -> str:
        """The version that the page's footer shows; no decision may depend on it."""
        tag = str(launch_utils.git_tag())
        return "" if tag == "<none>" else tag

    def language(self) -> str:
        """The name of the page's language; "None" is English."""
        return str(shared.opts.localization)

    def option_values(self) -> dict[str, object]:
        """Our options by name, as far as the user has set them."""
        keys = {one.name: option_key(one.name) for one in OPTIONS}
        return {name: getattr(shared.opts, key) for name, key in keys.items() if hasattr(shared.opts, key)}

    def presets_file(self) -> str:
        """In the folder of the user's data, beside ``config.json`` and ``ui-config.json``."""
        return str(Path(paths_internal.data_path).absolute() / "loratorio-presets.json")

    def api(self) -> Api | None:
        """The API that the WebUI serves (webui.py); None: it serves none.

        Its passwords are read as the WebUI reads ``--api-auth`` (modules/api/api.py).

        Raises:
            ValueError: a part is not ``user:password``; the WebUI's own API does not start then.
        """
        if not (shared.cmd_opts.api or shared.cmd_opts.nowebui):
            return None
        if not shared.cmd_opts.api_auth:
            return Api(None)
        pairs = [part.split(":") for part in shared.cmd_opts.api_auth.split(",")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("--api-auth must be user:password, several separated by commas")
        return Api({pair[0]: pair[1] for pair in pairs})
