"""Whether a training run fits on this machine, found out without its weights and without the Hub.

::

    plan        what of a configuration decides memory, disk and time
    shapes      the model on torch's meta device, with what is trained: parameters counted, not guessed
    rehearsal   one training step on tensors without data: the memory that autograd and the loss need
    memory      the parts of a rank's memory by strategy and precision
    rows        rows and optimizer steps, from prepared data or from the corpus's published size
    storage     what is downloaded, prepared, kept and exported
    verdict     all of it against the machine, and which overrides make it fit
"""
