"""The inspector: what the last runs did, place by place and step by step."""
