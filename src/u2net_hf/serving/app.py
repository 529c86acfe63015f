"""The routes: POST /remove, GET /health, and the pages that describe them (/docs, /openapi.json)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from PIL import Image, ImageColor
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse, Response

from .._version import __version__
from ..images.files import WRITE_FORMATS, open_background
from ..models.u2net.render_u2net import MattingUnavailableError, RenderOptions
from .guard import Guard
from .limits import Admission, RefusalError
from .service import RemovalService

PHOTO, BACKGROUND = "photo", "background"
MEDIA_TYPES = {"png": "image/png", "webp": "image/webp", "jpg": "image/jpeg", "gif": "image/gif"}
_BINARY = {"type": "string", "format": "binary"}
_REASONS = {
    400: "The form is malformed.",
    408: "The picture comes too slowly.",
    413: "Too many bytes or pixels.",
    415: "No picture of a format that is read here.",
    422: "An option is wrong, or the picture is damaged.",
    429: "Too many requests of this client are in progress.",
    503: "Too many requests are in progress, or the server stops.",
}
_Result = TypeVar("_Result")


class Format(StrEnum):
    """Formats of a result."""

    png = "png"
    webp = "webp"
    jpg = "jpg"
    gif = "gif"


class RemoveQuery(BaseModel):
    """The options of a request, which are those of the command."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="One of the server's models, see /health; by default the first.")
    mask: bool = Field(False, description="The soft mask instead of the cut-out.")
    background: str | None = Field(
        None, max_length=64, description="A color (white, #00ff88) to put behind the object; a picture goes in a form."
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Keep pixels of at least this saliency fully, and no others."
    )
    matting: bool = Field(False, description="Refine hair and soft edges, without a halo; some seconds a photo.")
    crop: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Cut to the object, with this share of its longer side around it."
    )
    format: Format = Field(Format.png, description="Format of the result.")


def build_app(service: RemovalService) -> FastAPI:
    """The app that answers with what a service makes; it closes the service when it is shut down."""
    admission = Admission(service.limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(title="u2net-hf", version=__version__, lifespan=lifespan, redoc_url=None)
    app.add_middleware(Guard, admission=admission)

    @app.post("/remove", summary="Cut the salient object out of a photo", **_description())
    async def remove(request: Request, query: Annotated[RemoveQuery, Query()]) -> Response:
        upload = await _read_upload(request)
        return await _unless_gone(request, _answer(service, request, query, upload))

    @app.get("/health", summary="Whether the server works, and its models")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__, "models": [*service.networks], "requests": admission.requests}

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return RedirectResponse("docs")

    @app.exception_handler(RequestValidationError)
    async def name_options(request: Request, error: RequestValidationError) -> Response:
        reasons = (f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return JSONResponse({"detail": "; ".join(reasons)}, 422)

    @app.exception_handler(ClientDisconnect)
    async def say_nothing(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody hears it

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": f"internal error: {type(error).__name__}; the server's log has more"}, 500)

    return app


class _Upload(NamedTuple):
    photo: bytes
    background: bytes | None


async def _read_upload(request: Request) -> _Upload:
    """The pictures of a request: its body, or the parts of a form."""
    if (coding := request.headers.get("content-encoding", "identity")) != "identity":
        raise RefusalError(415, f"content-encoding: {coding} is not read here; send the picture as it is")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return _Upload(await request.body(), None)
    async with request.form(max_files=2, max_fields=16) as form:
        pictures = {}
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile) or name not in (PHOTO, BACKGROUND) or name in pictures:
                expected = f"one picture {PHOTO!r}, and at most one {BACKGROUND!r}; options belong into the address"
                raise RefusalError(422, f"form: has a part {name[:40]!r}; expected {expected}")
            pictures[name] = await value.read()
        return _Upload(pictures.get(PHOTO, b""), pictures.get(BACKGROUND))


async def _answer(service: RemovalService, request: Request, query: RemoveQuery, upload: _Upload) -> Response:
    background = _color(query.background)
    if background is not None and upload.background is not None:
        raise RefusalError(422, "background: a color and a picture; choose one of them")
    try:
        if upload.background is not None:
            background = await service.open_background(upload.background)
        options = RenderOptions(query.mask, background, query.threshold, query.matting, query.crop)
        image_format = WRITE_FORMATS[f".{query.format}"]
        outcome = await service.remove(upload.photo, query.model, options, image_format)
    except (MattingUnavailableError, ValueError) as error:
        raise RefusalError(422, str(error)) from error
    request.scope["held"].change(len(outcome.data))
    timing = ", ".join(f"{step};dur={seconds * 1e3:.1f}" for step, seconds in outcome.seconds.items())
    headers = {"Server-Timing": timing, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(outcome.data, media_type=MEDIA_TYPES[query.format], headers=headers)


def _color(text: str | None) -> Image.Image | None:
    """A color as a picture of one pixel. A path is none: files of the server are nobody's business."""
    if text is None:
        return None
    try:
        ImageColor.getrgb(text)
        return open_background(text)
    except ValueError:
        message = "must be an opaque color (white, #00ff88); a picture goes as the part 'background' of a form"
        raise RefusalError(422, f"background: {message}") from None


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """Do the work, unless the client hangs up before it is done."""

    async def wait_until_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.ensure_future(work), asyncio.ensure_future(wait_until_gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _description() -> dict[str, Any]:
    """What the OpenAPI page says of bodies and answers."""
    parts = {"type": "object", "required": [PHOTO], "properties": {PHOTO: _BINARY, BACKGROUND: _BINARY}}
    content = {"multipart/form-data": {"schema": parts}, "application/octet-stream": {"schema": _BINARY}}
    reason = {"type": "object", "properties": {"detail": {"type": "string"}}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": {"application/json": {"schema": reason}}}
        for status, text in _REASONS.items()
    }
    pictures = {media_type: {"schema": _BINARY} for media_type in MEDIA_TYPES.values()}
    responses[200] = {"description": "The result.", "content": pictures}
    return {
        "description": "The photo is the body, or the part `photo` of a form. The result is as of `u2net-hf remove`.",
        "response_class": Response,
        "responses": responses,
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }
