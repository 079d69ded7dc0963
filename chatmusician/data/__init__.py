"""From corpora to batches: documents, instruction tasks, token ids, packed shards, row order, datamodules."""
