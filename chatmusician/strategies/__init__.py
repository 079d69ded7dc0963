"""What Lightning lacks for running here: checkpoints that are never half-written, DeepSpeed on the CPU."""
