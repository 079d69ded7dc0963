"""Model folders that stand alone: merging adapters, saving, the model card, and the check after reloading."""
