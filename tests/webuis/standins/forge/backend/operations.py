from __future__ import annotations

import torch


class ForgeOperations:
    class Linear(torch.nn.Module):
        """No subclass of torch's."""

        def __init__(self, in_features, out_features, bias=True):
            super().__init__()
            self.in_features = in_features
            self.out_features = out_features
            plain = torch.nn.Linear(in_features, out_features, bias)
            self.weight, self.bias = plain.weight, plain.bias

        def forward(self, x):
            return torch.nn.functional.linear(x, self.weight, self.bias)
