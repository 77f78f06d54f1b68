"""What one running server knows besides the generation at hand: runs, presets, options, words, costs."""
