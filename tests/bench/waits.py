"""What makes a host wait for its device, seen while a block runs."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# By what a call asks of torch: values for the host, sizes that depend on values, and tensors made of Python's
# numbers, which are copied to the device and waited for (an index that is a list makes one too).
OPERATIONS = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "index", "lift_fresh", "equal"})
# On a CPU these read the memory without an operation.
FUNCTIONS = frozenset({"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__"})


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in OPERATIONS:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in FUNCTIONS:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))
