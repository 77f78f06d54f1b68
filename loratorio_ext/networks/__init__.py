"""Networks as functions of activations: files, tags, deltas and the row router."""
