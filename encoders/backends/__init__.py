"""How a forward pass runs: without padding and one batch a core where that gives equal vectors, else as the library does it."""
