"""What computes the tokens: transformers, llama.cpp or vLLM, behind the interface of `backend`."""
