from __future__ import annotations

from network import NetworkModule


class NetworkModuleFull(NetworkModule):
    def calc_updown(self, target):
        return self.finalize_updown(self.weights["diff"], target, self.weights.get("diff_b"))
