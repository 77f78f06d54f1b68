from __future__ import annotations


def state_dict_prefix_replace(state_dict, replace_prefix, filter_keys=False):
    (old, new), *_ = replace_prefix.items()
    renamed = {}
    for key, tensor in state_dict.items():
        renamed[new + key.removeprefix(old) if key.startswith(old) else key] = tensor
    return renamed
