"""A local server that speaks NVIDIA's embedding API as it is documented, and refuses what the real one refuses.

Sources: docs.api.nvidia.com (nvidia-nvclip-infer), the OpenAPI description of nvclip-vit-h-14 (64 inputs, no unknown keys,
`detail` with 402, problem details with 422), docs.nvidia.com (text embedding NIM: input_type, truncate), and the
error JSON that people have posted from the hosted service.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.loopback import Loopback, Reply, Request, loopback

KEY = "nvapi-loopback-0123456789"
TEXT_MODELS = {"nvidia/nv-embed-v1": 16, "nvidia/nv-embedqa-e5-v5": 24}
MULTI_MODELS = {"nvidia/nvclip": 12}
MAX_INPUTS = 64
MAX_IMAGE_CHARACTERS = 180_000
MAX_WORDS = 512  # a word counts as a token here
PREFIX = "data:image/"

Embed = Callable[[str | bytes, str, int], Sequence[float]]  # text or the image's bytes, input_type, dimension


def hashed(content: str | bytes, input_type: str, dim: int) -> list[float]:
    """Numbers that depend only on the content and the input type."""
    data = b"i" + content if isinstance(content, bytes) else f"t{input_type}:{content}".encode()
    seed = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
    return [float(x) for x in np.random.default_rng(seed).standard_normal(dim).astype(np.float32)]


class Refusal(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply.body))
        self.reply = reply


def problem(status: int, title: str, detail: str, kind: str = "") -> Refusal:
    body = {"status": status, "title": title, "detail": detail}
    return Refusal(Reply(status, body | ({"type": f"urn:nvcf-worker-service:problem-details:{kind}"} if kind else {})))


def invalid(message: str) -> Refusal:
    return Refusal(Reply(400, {"object": "error", "message": message, "type": "invalid_request_error"}))


def checked_inputs(body: dict[str, Any]) -> list[str]:
    """The inputs of a request that the real service would take."""
    model = body.get("model")
    if model not in TEXT_MODELS | MULTI_MODELS:
        raise problem(404, "Not Found", f"Function id for model '{model}': Not found for account")
    multi = model in MULTI_MODELS
    unknown = set(body) - {"input", "model", "encoding_format", "user"} - (set() if multi else {"input_type", "truncate", "dimensions"})
    inputs = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
    if multi and (unknown or not inputs or len(inputs) > MAX_INPUTS):
        raise problem(422, "Unprocessable Entity", f"unknown {sorted(unknown)}, {len(inputs or [])} inputs", "unprocessable-entity")
    if unknown or not inputs or len(inputs) > MAX_INPUTS:
        raise invalid(f"Your request cannot be validated, it is incorrect. {sorted(unknown)}, {len(inputs or [])} inputs")
    if not multi and body.get("input_type") not in ("passage", "query"):
        raise invalid("'input_type' parameter is required for asymmetric models")
    return list(inputs)


def content_of(text: str, body: dict[str, Any]) -> str | bytes:
    """What is embedded: an image's bytes, or the text as far as the model reads it."""
    if text.startswith(PREFIX) and body["model"] in MULTI_MODELS:
        data = text.partition(";base64,")[2]
        if len(data) > MAX_IMAGE_CHARACTERS:
            raise problem(422, "Unprocessable Entity", f"image of {len(data)} characters; use an asset", "unprocessable-entity")
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise problem(422, "Unprocessable Entity", f"not an image: {error}", "unprocessable-entity") from error
    words = text.split(" ")
    if len(words) <= MAX_WORDS or body["model"] in MULTI_MODELS:
        return text
    if body.get("truncate", "NONE") == "NONE":
        raise invalid(f"Input length {len(words)} exceeds maximum allowed token size {MAX_WORDS}")
    return " ".join(words[:MAX_WORDS] if body["truncate"] == "END" else words[-MAX_WORDS:])


def embeddings(request: Request, key: str | None, embed: Embed) -> Reply:
    if key is not None and "authorization" not in request.headers:
        raise problem(401, "Unauthorized", "Authentication failed")
    if key is not None and request.headers["authorization"] != f"Bearer {key}":
        raise problem(403, "Forbidden", f"Authorization failed for {request.headers['authorization']}")  # the worst case: repeats it
    if request.path.replace("//", "/") != "/v1/embeddings":
        raise Refusal(Reply(404, b"404 page not found\n", {"Content-Type": "text/plain"}))
    body = request.body
    dim = (TEXT_MODELS | MULTI_MODELS).get(body.get("model"), 0)
    contents = [content_of(text, body) for text in checked_inputs(body)]
    vectors = [[float(x) for x in embed(c, body.get("input_type", ""), dim)] for c in contents]
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    return Reply(200, {"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": 1, "total_tokens": 1}})


@contextmanager
def nim_server(key: str | None = KEY, embed: Embed = hashed, script: Sequence[Reply] = ()) -> Iterator[Loopback]:
    """The service under `.url`, and what it was asked in `.requests`; the replies of `script` are given first."""
    first = list(script)

    def answer(request: Request) -> Reply:
        if first:
            return first.pop(0)
        try:
            return embeddings(request, key, embed)
        except Refusal as refusal:
            return refusal.reply

    with loopback(answer) as server:
        yield server
