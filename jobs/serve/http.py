"""The HTTP interface of Weaviate's inference containers (text, CLIP, ImageBind) over the vectors of a job."""

import asyncio
import hmac
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from encoders.remote import PARTS
from jobs.serve.batches import ServedVector
from jobs.serve.questions import Refused, multi_question, parsed_body, text_question
from schemas.errors import RowError, WarpbeamError
from schemas.modules import MULTI_MODULES, MultiModule

MAX_BODY = 256 << 20  # bytes
logger = logging.getLogger(__name__)


class Service:
    """What is served where: `root` without a prefix, every vector of `vectors` under its name."""

    def __init__(self, vectors: Mapping[str, ServedVector], root: ServedVector | None, tokens: Sequence[str] = ()) -> None:
        """Keep the vectors; nobody is asked for a token where `tokens` is empty."""
        self.vectors, self.root, self.tokens = vectors, root, [t.encode() for t in tokens]

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[Route("/{path:path}", self.respond, methods=["GET", "POST"])], exception_handlers={HTTPException: _http_error}
        )

    async def respond(self, request: Request) -> Response:
        """Answer any request; whatever goes wrong is JSON with the key `error`, as the containers have it."""
        try:
            return await self._respond(request)
        except Refused as error:
            return _error(error.reason, error.status)
        except RowError as error:
            return _error(error.reason, 500)
        except Exception as error:  # a fault of the model: this request fails, the others go on
            if not isinstance(error, WarpbeamError):
                logger.error("a request failed: %s", error, exc_info=error)
            return _error(str(error) or type(error).__name__, 500)

    async def _respond(self, request: Request) -> Response:
        parts = [part for part in request.path_params["path"].split("/") if part]  # `//vectors` comes of a base URL that ends in a slash
        named = self.vectors.get(parts[0]) if len(parts) > 1 else None
        served, action = (named, parts[1:]) if named else (self.root, parts)
        if action[:1] == [".well-known"] and action[1:] in (["live"], ["ready"]) and request.method == "GET":
            return self._health(named, action[1])
        self._authorize(request)
        if action == ["meta"] and request.method == "GET":
            return JSONResponse(_meta(served) if served else {"vectors": {n: _meta(v) for n, v in self.vectors.items()}})
        if served is None and action in (["vectors"], ["vectorize"]):
            raise Refused(404, f"several vectors are served here: ask {' or '.join(f'/{n}/{action[0]}' for n in self.vectors)}")
        if served is not None and not served.ready.is_set():
            raise Refused(503, f"{served.name} still loads its model")
        if served is None or not (action == ["vectors"] or (action == ["vectorize"] and _takes_several(served))):
            raise Refused(404, f"nothing is at {request.url.path}")
        if request.method != "POST":
            raise Refused(405, f"{request.url.path} takes POST")
        return await _asked(served, request)

    def _health(self, named: ServedVector | None, what: str) -> Response:
        """204 if alive, or if the models are loaded; 503 before."""
        asked = [named] if named else list(self.vectors.values())
        loading = [v.name for v in asked if not v.ready.is_set()] if what == "ready" else []
        return _error(f"loading {', '.join(loading)}", 503) if loading else Response(status_code=204)

    def _authorize(self, request: Request) -> None:
        """Raise Refused unless the request has one of the tokens, or none is asked for."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "replace")
        known = [hmac.compare_digest(given, t) for t in self.tokens]
        if self.tokens and not (scheme.lower() == "bearer" and any(known)):
            raise Refused(401, "Unauthorized")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.detail, error.status_code)


def _error(reason: str, status: int) -> Response:
    """The containers' form of an error, escaped: it may quote half a surrogate pair, which would be no UTF-8."""
    return Response(json.dumps({"error": reason}), status, media_type="application/json")


def _takes_several(served: ServedVector) -> bool:
    return bool(served.modalities - {"text"}) or isinstance(served.spec.module, MultiModule)


def _kinds(served: ServedVector) -> list[str]:
    """The modalities that are asked for and answered in lists, in the order of the answer."""
    module = served.spec.module
    kinds = MULTI_MODULES[module.name] if isinstance(module, MultiModule) else served.modalities | {"text", "image"}
    return [kind for kind in PARTS if kind in kinds]


def _meta(served: ServedVector) -> dict[str, Any]:
    """What is known of the model; `served` counts what was asked."""
    model = served.spec.model
    name = str(
        (model and (model.name or model.prebuilt or model.passage or model.image or model.text or model.imagebind)) or "made-up vectors"
    )
    config: Any = {"_name_or_path": name}
    if (file := Path(name).expanduser() / "config.json").is_file():
        config = json.loads(file.read_text(encoding="utf-8"))
    return {
        "model": config,
        "model_path": name,
        "module": served.spec.module.name if served.spec.module else None,
        "mode": served.mode or (model.mode if model else None),
        "dimensions": served.dim or None,
        "served": {"requests": served.requests, "encoder_calls": served.calls, "waiting": served.waiting},
    }


async def _body(request: Request) -> bytes:
    """The raw body: Weaviate's text module says nothing about its type."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refused(413, f"the body has more than {MAX_BODY >> 20} MiB")
    return bytes(body)


async def _asked(served: ServedVector, request: Request) -> Response:
    """Vectors for a request; ImageBind's container has status 500 for whatever is wrong with one."""
    try:
        return await _vectors(served, parsed_body(await _body(request)))
    except Refused as error:
        if error.status == 422 and served.spec.module and served.spec.module.name == "multi2vec-bind":
            raise Refused(500, error.reason) from error
        raise


async def _vectors(served: ServedVector, data: dict[str, Any]) -> Response:
    """Vectors for a text or, where the model takes other modalities, for lists of values of each."""
    if _takes_several(served) and "text" not in data:
        return await _several(served, data)
    answer = await asyncio.wrap_future(served.ask(text_question(data)))
    vector = answer["text"][0].tolist()  # doubles that are exactly the float32 numbers
    text = json.dumps(data["text"]).encode()  # escaped: half a surrogate pair would be no UTF-8
    return Response(b'{"text":%b,"vector":%b,"dim":%d}' % (text, to_json(vector), len(vector)), media_type="application/json")


async def _several(served: ServedVector, data: dict[str, Any]) -> Response:
    """The lists of vectors that a multi2vec container answers with."""
    kinds = _kinds(served)
    answer = await asyncio.wrap_future(served.ask(multi_question(data, kinds)))
    lists = {PARTS[kind][1]: answer[kind].tolist() if kind in answer else [] for kind in kinds}
    return Response(to_json(lists), media_type="application/json")
