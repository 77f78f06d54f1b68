"""What a file of a network does to the parameters of a model."""

from __future__ import annotations


def patches_in(tensors, module, prefix):
    """Patches of the parameters of a model whose layer's name is known."""
    names = {
        f"{prefix}_{name.removesuffix('.weight').replace('.', '_')}": name
        for name, _ in module.named_parameters()
        if name.endswith(".weight")
    }
    layers = {}
    for key, tensor in tensors.items():
        layer, _, part = key.partition(".")
        layers.setdefault(layer, {})[part] = tensor
    found = {}
    for layer, parts in layers.items():
        if layer not in names:
            continue
        key, alpha = names[layer], parts.get("alpha")
        alpha = None if alpha is None else alpha.item()
        if "lora_up.weight" in parts:
            tensors = [parts.get(f"lora_{one}.weight") for one in ("up", "down", "mid")]
            value = (tensors[0], tensors[1], alpha, tensors[2], parts.get("dora_scale"))
            found[key if "slice" not in parts else (key, tuple(parts["slice"].tolist()))] = ("lora", value)
        elif "hada_w1_a" in parts:
            a1, b1, a2, b2 = (parts[f"hada_w{i}_{side}"] for i in (1, 2) for side in "ab")
            found[key] = ("loha", (a1, b1, alpha, a2, b2, None, None, None))
        elif "diff" in parts:
            found[key] = ("diff", (parts["diff"],))
        elif "set_weight" in parts:
            found[key] = ("set", (parts["set_weight"],))
        if "diff_b" in parts:
            found[f"{key.removesuffix('.weight')}.bias"] = ("diff", (parts["diff_b"],))
    return found
