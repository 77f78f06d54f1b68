"""A stand-in for the part of AUTOMATIC1111's WebUI that the project touches, written for its tests.

It has the WebUI's names, signatures, order of calls and layout of rows, on a model of a few thousand
weights. `contract.py` beside this folder says which names these are, and compares them with a real tree.
"""

from __future__ import annotations
