"""A look at prepared data: documents as the model will see them, and what a whole folder holds."""
