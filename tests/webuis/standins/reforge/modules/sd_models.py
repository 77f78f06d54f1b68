"""The model that is loaded; asking here loads none."""

from __future__ import annotations

from modules import shared


class SdModelData:
    sd_model = property(lambda self: getattr(shared, "sd_model", None))


model_data = SdModelData()
