from __future__ import annotations


def torch_gc():
    pass
