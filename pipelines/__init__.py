"""How objects move: read, chunked, vectorized and written; each stage a pure function with its transform right below."""
