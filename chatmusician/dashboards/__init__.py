"""Where runs are looked at: Weights & Biases and TensorBoard, what they are told of a run, and how it is arranged."""
