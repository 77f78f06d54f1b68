from __future__ import annotations


class Embedding:
    def __init__(self, name, hash):
        self.name = name
        self.hash = hash
        self.shorthash = hash[:12]
        self.vectors = 1


class EmbeddingDatabase:
    def __init__(self):
        self.word_embeddings = {}
