from __future__ import annotations


def dequantize_tensor(tensor):
    """The stand-in's packed weights are whole numbers of hundredths."""
    return tensor.float() / 100
