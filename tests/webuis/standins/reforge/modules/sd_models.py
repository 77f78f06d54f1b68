from __future__ import annotations


class SdModelData:
    def __init__(self):
        self.sd_model = None


model_data = SdModelData()
