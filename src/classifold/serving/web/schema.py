"""The JSON of requests and replies; OpenAPI's schemas are made of these classes."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, FailFast, Field, model_validator

from classifold.serving.predict import Prediction

Probability = Annotated[float, Field(ge=0, le=1)]


class ClassProbability(BaseModel):
    """A class and its calibrated probability."""

    name: Annotated[str, Field(alias="class")]
    probability: Probability


class ImagePrediction(BaseModel):
    """The prediction for one image, or the reason why there is none."""

    image: Annotated[str, Field(description="The file's name.")]
    labels: Annotated[
        list[str],
        FailFast(),
        Field(description="The predicted class; in `multi` all classes above the threshold."),
    ]
    probabilities: Annotated[
        list[ClassProbability],
        FailFast(),
        Field(description="The most probable classes, in this order."),
    ]
    sets: Annotated[
        dict[str, list[str]],
        Field(description="Level, such as 0.9 -> the classes of the prediction set."),
    ]
    reason: Annotated[str | None, Field(description="Why the file could not be decoded.")]
    abstained: Annotated[str | None, Field(description="Why there is no label: low confidence.")]
    remark: Annotated[str | None, Field(description="What is unusual about the image.")]
    novelty: Annotated[
        float | None, Field(description="Distance to the training images; null if unknown.")
    ]
    is_novel: Annotated[bool, Field(description="Whether it is unlike the training images.")]

    @staticmethod
    def describe(prediction: Prediction, *, top: int) -> dict[str, Any]:
        """Describe a prediction as JSON with the fields of this class."""
        ranked = list(prediction.probabilities.items())[:top]
        named = [{"class": name, "probability": value} for name, value in ranked]
        fields = {name: getattr(prediction, name) for name in ImagePrediction.model_fields}
        return fields | {"probabilities": named}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.labels and not self.probabilities:
            raise ValueError("probabilities must not be empty if there are labels")
        return self

    def as_prediction(self) -> Prediction:
        """Convert back."""
        fields = {name: getattr(self, name) for name in ImagePrediction.model_fields}
        ranked = {one.name: one.probability for one in self.probabilities}
        return Prediction(**fields | {"probabilities": ranked})


class Predictions(BaseModel):
    """The predictions for the images of a request, in their order."""

    model: Annotated[str, Field(description="`stack` or the name of the model.")]
    set_warnings: Annotated[
        list[str],
        Field(description="Why sets of some level have all classes, and what to do."),
    ] = []
    # Each error takes memory, far more than the item that it is about.
    predictions: Annotated[list[ImagePrediction], FailFast()]


class NearestImage(BaseModel):
    """A training image with similar features."""

    id: Annotated[str, Field(description="In the image table.")]
    labels: list[str]
    similarity: Annotated[float, Field(description="Cosine of the features, in [-1, 1].")]
    thumbnail: str


class Explanation(BaseModel):
    """What the prediction for an image depends on. Pictures are data: addresses."""

    image: str
    explained: Annotated[str, Field(description="The class whose logit is explained.")]
    model: Annotated[str, Field(description="The network that is explained.")]
    method: Annotated[str, Field(description="`Grad-CAM` or `occlusion`.")]
    map: Annotated[str, Field(description="PNG with transparency, to be laid over the image.")]
    resized: Annotated[str, Field(description="PNG of the image, resized as for the prediction.")]
    nearest: Annotated[
        list[NearestImage] | None,
        Field(description="The nearest training images; null if their features are not stored."),
    ]


class ServedModel(BaseModel):
    """What is served, and the limits of requests."""

    model: str
    members: Annotated[list[str], Field(description="The networks that are run.")]
    task: Annotated[str, Field(description="`single` or `multi`: labels per image.")]
    classes: list[str]
    levels: Annotated[list[str], Field(description="Levels of prediction sets.")]
    set_warnings: Annotated[
        list[str],
        Field(description="Why sets of some level have all classes, and what to do."),
    ]
    has_card: Annotated[bool, Field(description="Whether /model-card exists.")]
    max_bytes: Annotated[int, Field(description="The maximum size of a request.")]
    max_images: Annotated[int, Field(description="The maximum number of images of a request.")]
    version: Annotated[str, Field(description="The version of Classifold.")]


class Health(BaseModel):
    """The state of the server."""

    status: str
    n_waiting: Annotated[int, Field(description="Images that have no prediction yet.")]


class Failure(BaseModel):
    """Why there is no reply."""

    error: str
