"""The demo in the browser: a chat that is streamed, tunes drawn and played, and forms for the tasks of training."""
