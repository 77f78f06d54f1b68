"""ComposLoRA, the testbed of Zhong et al., "Multi-LoRA Composition for Image Generation", arXiv 2402.16843.

Its public repository (github.com/maszhongming/Multi-LoRA-Composition, commit cac122a) has no licence, so
nothing of it is copied here: its lists of networks and its wording of prompts are read from the user's own
copy of it, and its networks from the user's copy of its archive.
"""

from __future__ import annotations
