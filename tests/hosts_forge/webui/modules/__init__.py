"""A stand-in for the part of Forge that the project touches, written for its tests.

It has Forge's file names, names, signatures, order of calls and layout of rows, on a model of a few thousand
weights. What is the same in AUTOMATIC1111's WebUI comes from the stand-in of that one.
"""

from __future__ import annotations

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
