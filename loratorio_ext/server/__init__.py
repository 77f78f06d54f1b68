"""What one running server knows beside the generation at hand: runs, presets, options, words, costs."""
