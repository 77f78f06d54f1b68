"""The panel under the prompt: the settings, presets, the pool, and what a generation will cost."""
