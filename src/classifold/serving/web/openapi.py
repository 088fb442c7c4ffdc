"""The description of the API, OpenAPI 3.1."""

from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from classifold.serving.web.schema import (
    Explanation,
    Failure,
    Health,
    Predictions,
    ServedModel,
)

FAILURES = {
    400: "The request cannot be read.",
    403: "The request is of another site.",
    408: "The request arrived too slowly.",
    413: "The request is too large.",
    415: "The request has another type of content.",
    429: "The server is busy; Retry-After has the seconds to wait.",
    503: "The network cannot compute a prediction.",
}


def describe_api() -> dict[str, Any]:
    """Describe all addresses, as the content of `/openapi.json`."""
    schemas = (Explanation, Failure, Health, Predictions, ServedModel)
    _, definitions = models_json_schema(
        [(schema, "validation") for schema in schemas],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Classifold",
            "summary": "Predictions of a trained image classifier.",
            "license": {"name": "MIT", "identifier": "MIT"},
            "version": version("classifold"),
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/predict": {
                "post": {
                    "operationId": "predict",
                    "summary": "Predict the classes of one or more images.",
                    "parameters": [
                        {
                            "name": "top",
                            "in": "query",
                            "description": "The number of most probable classes to list.",
                            "schema": {"type": "integer", "minimum": 1},
                        }
                    ],
                    "requestBody": _form("One or more image files.", max_items=None),
                    "responses": _responses(Predictions, 400, 403, 408, 413, 415, 429, 503),
                }
            },
            "/v1/explain": {
                "post": {
                    "operationId": "explain",
                    "summary": "Show what the prediction for one image depends on.",
                    "parameters": [
                        {
                            "name": "class",
                            "in": "query",
                            "description": "The class to explain; default: the most probable one.",
                            "schema": {"type": "string"},
                        }
                    ],
                    "requestBody": _form("One image file.", max_items=1),
                    "responses": _responses(Explanation, 400, 403, 408, 413, 415, 429, 503),
                }
            },
            "/v1/csv": {
                "post": {
                    "operationId": "csv",
                    "summary": "Convert predictions to the CSV file that 'classifold predict' "
                    "writes.",
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": _reference(Predictions)}},
                    },
                    "responses": {
                        "200": {"description": "The file.", "content": {"text/csv": {}}},
                        **_failures(400, 403, 408, 413, 429),
                    },
                }
            },
            "/v1/model": {
                "get": {
                    "operationId": "model",
                    "summary": "Describe the model and the limits.",
                    "responses": _responses(ServedModel, 403),
                }
            },
            "/health": {
                "get": {
                    "operationId": "health",
                    "summary": "Report that the server runs.",
                    "responses": _responses(Health, 403),
                }
            },
            "/model-card": {
                "get": {
                    "operationId": "modelCard",
                    "summary": "The model card, as a page.",
                    "responses": {
                        "200": {"description": "The page.", "content": {"text/html": {}}},
                        "404": _failure("The pipeline has written no model card."),
                        **_failures(403),
                    },
                }
            },
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _form(description: str, *, max_items: int | None) -> dict[str, Any]:
    images: dict[str, Any] = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
        "minItems": 1,
    }
    if max_items:
        images["maxItems"] = max_items
    schema = {"type": "object", "properties": {"images": images}, "required": ["images"]}
    content = {"multipart/form-data": {"schema": schema}}
    return {"required": True, "description": description, "content": content}


def _responses(schema: type[BaseModel], *failures: int) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(schema)}}
    success = {"description": (schema.__doc__ or "").splitlines()[0], "content": content}
    return {"200": success, **_failures(*failures)}


def _failures(*codes: int) -> dict[str, Any]:
    return {str(code): _failure(FAILURES[code]) for code in codes}


def _failure(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(Failure)}}
    return {"description": description, "content": content}


def _reference(schema: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema.__name__}"}
