"""The topics of the quiz. Each module has ``MAKERS``: for each level, 1 to 3, the makers of its kinds of questions."""
