"""The model: backbone, LoRA, loss, optimizer and schedule, and the LightningModule that holds them."""
