"""The application: addresses, and what each does."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from classifold.errors import UserError, describe_choices
from classifold.plain_text import one_line
from classifold.runtime.faults import describe_error
from classifold.serving.predict import Classifier, Prediction
from classifold.serving.predictions_file import write_predictions
from classifold.serving.web.decoding import Decoder
from classifold.serving.web.explanations import Explainer
from classifold.serving.web.inference import InferenceThread
from classifold.serving.web.limits import Admission, Limits
from classifold.serving.web.openapi import describe_api
from classifold.serving.web.pages import ASSETS, card_page, error_page, read_asset
from classifold.serving.web.schema import ImagePrediction, Predictions
from classifold.serving.web.security import Guard
from classifold.serving.web.uploads import (
    Upload,
    arriving,
    declared_length,
    read_body,
    read_uploads,
)


class Service:
    """What the addresses share: the classifier, its thread and processes, and the limits."""

    def __init__(self, classifier: Classifier, *, root: Path, top: int, limits: Limits) -> None:
        self.classifier = classifier
        self.card = root / "reports/MODEL_CARD.md"
        self.top = top
        self.limits = limits
        self.admission = Admission(limits)
        self.decoder = Decoder(classifier, limits)
        self.networks = InferenceThread(classifier, self.admission)
        self.explainer = Explainer(classifier, explained_model=root / "data/explained_model")

    @property
    def set_warnings(self) -> list[str]:
        """Why the sets of some levels have all classes, and what to do."""
        return self.classifier.explain_full_sets(self.classifier.levels)

    def stop(self) -> None:
        """Finish what waits; end the thread and the processes."""
        self.networks.stop()
        self.decoder.stop()

    async def predict(self, request: Request) -> Response:
        """POST /v1/predict."""
        top = _whole_number(request, "top", default=self.top)
        with ExitStack() as held:
            uploads = await self._uploads(request, held)
            predictions = await asyncio.gather(*map(self._prediction, uploads))
        content = {
            "model": self.classifier.name,
            "set_warnings": self.set_warnings,
            "predictions": [ImagePrediction.describe(one, top=top) for one in predictions],
        }
        return JSONResponse(content)

    async def explain(self, request: Request) -> Response:
        """POST /v1/explain."""
        class_name = request.query_params.get("class")
        if class_name is not None and class_name not in self.classifier.classes:
            got = one_line(class_name, max_characters=40)
            choices = describe_choices(class_name, self.classifier.classes)
            raise HTTPException(400, f"class: the model has no class '{got}'. {choices}")
        with ExitStack() as held:
            uploads = await self._uploads(request, held)
            if len(uploads) > 1:
                raise HTTPException(400, f"images: must be one file, got {len(uploads):,}.")
            image = await self.decoder.decode(uploads[0].content)
            if image.pixels is None:
                raise HTTPException(400, f"the image cannot be decoded: {image.reason}.")
            call = self.networks.call(
                lambda: self.explainer.explain(uploads[0].name, image, class_name)
            )
            explanation = await asyncio.wrap_future(call)
        return JSONResponse(await asyncio.to_thread(self.explainer.add_thumbnails, explanation))

    async def csv(self, request: Request) -> Response:
        """POST /v1/csv."""
        limits = self.limits._replace(max_body=min(self.limits.max_table, self.limits.max_body))
        with self.admission.body(declared_length(request, limits)):
            async with arriving(limits):
                body = b"".join([piece async for piece in read_body(request, limits)])
            text = await asyncio.to_thread(self._to_csv, body)
        disposition = {"Content-Disposition": 'attachment; filename="predictions.csv"'}
        return Response(text, media_type="text/csv", headers=disposition)

    async def model(self, _: Request) -> Response:
        """GET /v1/model."""
        classifier = self.classifier
        return JSONResponse(
            {
                "model": classifier.name,
                "members": list(classifier.members),
                "task": classifier.task,
                "classes": classifier.classes,
                "levels": classifier.levels,
                "set_warnings": self.set_warnings,
                "has_card": self.card.is_file(),
                "max_bytes": self.limits.max_body,
                "max_images": self.limits.max_images,
                "version": version("classifold"),
            }
        )

    async def health(self, _: Request) -> Response:
        """GET /health."""
        return JSONResponse({"status": "ok", "n_waiting": self.admission.n_images})

    async def model_card(self, _: Request) -> Response:
        """GET /model-card."""
        if not self.card.is_file():
            raise HTTPException(
                404, f"{self.card}: no such file. Write it with 'dvc repro report'."
            )
        return HTMLResponse(card_page(self.card.read_text(encoding="utf-8")))

    async def _uploads(self, request: Request, held: ExitStack) -> list[Upload]:
        """Read the images of a request; `held` keeps their places until it is closed."""
        held.enter_context(self.admission.body(declared_length(request, self.limits)))
        uploads = await read_uploads(request, self.limits)
        held.enter_context(self.admission.images(len(uploads)))
        return uploads

    async def _prediction(self, upload: Upload) -> Prediction:
        image = await self.decoder.decode(upload.content)
        return await asyncio.wrap_future(self.networks.predict(upload.name, image))

    def _to_csv(self, body: bytes) -> bytes:
        try:
            predictions = Predictions.model_validate_json(body).predictions
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "body"
            raise HTTPException(
                400, f"{place}: {first['msg']}. Send a reply of /v1/predict."
            ) from None
        known = self.classifier.levels
        if unknown := {level for one in predictions for level in one.sets}.difference(known):
            raise HTTPException(
                400,
                f"sets: levels must be of {', '.join(known) or 'none'}, got {min(unknown)[:40]}. "
                "Send a reply of this server's /v1/predict.",
            )
        n_listed = max((len(one.probabilities) for one in predictions), default=self.top)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "predictions.csv"
            write_predictions(
                path,
                [one.as_prediction() for one in predictions],
                task=self.classifier.task,
                top=min(n_listed, len(self.classifier.classes)),  # of each row: it bounds the file
                levels=self.classifier.levels,
                novelty=self.classifier.comparison is not None,
            )
            return path.read_bytes()


def make_app(
    classifier: Classifier,
    *,
    root: Path = Path(),
    host: str = "127.0.0.1",
    top: int = 5,
    limits: Limits | None = None,
) -> ASGIApp:
    """Make the application.

    Args:
        classifier: the stack or a model.
        root: the project's folder.
        host: the address that it will be reached at; see `Guard`.
        top: the number of most probable classes that are listed.
        limits: of requests; None: the default ones.
    """
    service = Service(
        classifier,
        root=root,
        top=min(top, len(classifier.classes)),
        limits=limits or Limits(),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.stop)

    app = Starlette(
        routes=[
            Route("/", _page),
            *(Route(f"/{name}", _asset) for name in ASSETS),
            Route("/v1/predict", service.predict, methods=["POST"]),
            Route("/v1/explain", service.explain, methods=["POST"]),
            Route("/v1/csv", service.csv, methods=["POST"]),
            Route("/v1/model", service.model),
            Route("/health", service.health),
            Route("/model-card", service.model_card),
            Route("/openapi.json", _openapi),
        ],
        exception_handlers={
            HTTPException: _report_http,
            UserError: _report_user_error,
            ClientDisconnect: _ignore,
            Exception: _report_bug,
        },
        lifespan=lifespan,
    )
    # Not as middleware: replies to bugs are made outside of it, and would have no headers.
    return Guard(app, host=host)


async def _page(_: Request) -> Response:
    return HTMLResponse(read_asset("index.html"))


async def _asset(request: Request) -> Response:
    name = request.url.path.removeprefix("/")
    return Response(read_asset(name), media_type=ASSETS[name])


async def _openapi(_: Request) -> Response:
    return JSONResponse(describe_api())


async def _report_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for mypy
    message = _describe_address(request, error) or error.detail
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(error_page(message), error.status_code, headers=error.headers)
    return JSONResponse({"error": message}, error.status_code, headers=error.headers)


def _describe_address(request: Request, error: HTTPException) -> str | None:
    """Describe the error of a path or a method that does not exist; None for other errors."""
    method, path = request.method, one_line(request.url.path, max_characters=60)
    routes = [one for one in request.app.routes if one.path.removeprefix("/") not in ASSETS]
    if error.detail == HTTPStatus.NOT_FOUND.phrase:
        return f"{path}: no such path. {describe_choices(path, [one.path for one in routes])}"
    if error.detail == HTTPStatus.METHOD_NOT_ALLOWED.phrase:
        allowed = " or ".join(sorted({*(error.headers or {})["Allow"].split(", ")} - {"HEAD"}))
        paths = ", ".join(one.path for one in routes if method in one.methods)
        others = f", or {method} for {paths}" if paths else ""
        return f"{path}: the method must be {allowed}, got {method}. Use {allowed}{others}."
    return None


async def _report_user_error(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503)


async def _report_bug(_: Request, error: Exception) -> Response:
    # The traceback is in the log of the server, and nothing of it is in the reply.
    message = describe_error(error) or "an error of the server; its log has the details."
    return JSONResponse({"error": message}, 500)


async def _ignore(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


def _whole_number(request: Request, name: str, *, default: int) -> int:
    text: Any = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0):
        raise HTTPException(400, f"{name}: must be an integer >= 1, got '{text[:40]}'.")
    return int(text[:9])
