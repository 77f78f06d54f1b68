from __future__ import annotations


class State:
    def __init__(self):
        self.textinfo = None
        self.interrupted = False
        self.skipped = False
