"""From a prompt to an answer: decoding settings, the batched sampling loop, chat, and files of prompts."""
