"""How good a model is: what it composes, measured, and how well it predicts real tunes."""
