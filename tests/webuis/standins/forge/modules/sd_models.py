from __future__ import annotations

from modules import shared


class SdModelData:
    sd_model = property(lambda self: getattr(shared, "sd_model", None))

    def __init__(self):
        self.forge_hash = ""


model_data = SdModelData()
