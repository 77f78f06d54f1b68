"""The laboratory: the embedded world's recipe, evaluations of the method, and what it costs.

It measures the extension and imports it, never the other way: the extension works without this folder.
"""
