from __future__ import annotations


def functional_dequantize_4bit(weight):
    """The stand-in's packed weights are whole numbers of tenths."""
    return weight.float() / 10
