"""A stand-in for the part of AUTOMATIC1111's WebUI that the project touches, written for its tests.

It has the WebUI's file names, names, signatures, order of calls and layout of rows, on a model of a few
thousand weights.
"""

from __future__ import annotations
