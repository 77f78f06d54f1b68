from __future__ import annotations


class SdModelData:
    def __init__(self):
        self.forge_hash = ""


model_data = SdModelData()
