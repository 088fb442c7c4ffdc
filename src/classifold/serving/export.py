"""A classifier as one ONNX file, from stored pixels to probabilities.

The graph takes uint8 (N, size, size, 3) RGB, as the pack holds images, and gives float32
(N, n_classes). What is done before it (decoding, turning upright, one resize by Pillow) is told
in the file's metadata.
"""

import importlib.util
import json
import tempfile
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.data.image_table import iter_columns
from classifold.data.pack import read_pack
from classifold.data.pixels import load_pixels
from classifold.errors import UserError
from classifold.models.inference import BATCH_SIZE, View, make_views
from classifold.models.model_file import Model
from classifold.models.preprocessing import NORMALIZATIONS
from classifold.serving.predict import Classifier
from classifold.stacking.module import EnsembleModule

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 20

IMAGES_CHECKED = 128
LARGEST_DIFFERENCE = 1e-4

# What one file of ONNX holds, less some room for the graph.
MOST_BYTES = 2**31 - 2**24


class Exported(NamedTuple):
    """What the file was checked by."""

    n_images: int
    difference: float  # the largest, of probabilities


def export_onnx(path: Path, classifier: Classifier, images: np.ndarray) -> Exported:
    """Write a classifier as ONNX, once the file gives torch's answers.

    The file's metadata: `classes` (JSON, in the order of probabilities), `task`, `threshold` and
    `thresholds` (JSON; null for one label an image), `temperature` (applied inside), `size`,
    `resize`, `background`, `model`.

    Args:
        path: where to; the file appears whole or not at all.
        classifier: the stack or a model.
        images: uint8 array (N, size, size, 3), N at least 1, real ones to check the file on.

    Raises:
        UserError: if a package is missing, the networks are too large or cannot be put into
            ONNX, or the file answers otherwise than torch.
    """
    require_packages()
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file to write, such as {path}/model.onnx")
    expected = classifier.probabilities(images)
    module = ClassifierModule(classifier).eval()
    n_bytes = sum(p.numel() * p.element_size() for p in module.state_dict().values())
    if n_bytes > MOST_BYTES:
        raise UserError(
            f"the networks of {classifier.name} take {n_bytes:,} bytes, and one ONNX file holds "
            f"{MOST_BYTES:,}; export one model with --model"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".partial") as folder:
        partial = Path(folder) / path.name
        _write(partial, module, metadata=_metadata(classifier), size=classifier.pack_size)
        difference = float(np.abs(_run(partial, images) - expected).max())
        if not difference <= LARGEST_DIFFERENCE:  # nor if it is no number
            raise UserError(
                f"the ONNX file of {classifier.name} differs from torch by {difference:.2g} on "
                f"{len(images)} images, more than {LARGEST_DIFFERENCE:g}; it is not kept"
            )
        partial.replace(path)
    return Exported(len(images), difference)


def require_packages() -> None:
    """Raise a UserError if what writes and runs ONNX is not installed."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"export needs {', '.join(missing)}; install with 'pip install {' '.join(missing)}', "
            "or set everything up with 'make setup'"
        )


def images_to_check(classifier: Classifier, *, packs: Path) -> np.ndarray:
    """Take the first validation images: of the image table, or else of the pack.

    Args:
        classifier: whose table and size it is.
        packs: the folder that `augment` leaves.

    Returns:
        uint8 array (N, size, size, 3).

    Raises:
        UserError: if there are none.
    """
    size, resize = classifier.pack_size, classifier.resize
    if classifier.ingested.is_dir():
        rows = iter_columns(classifier.ingested, ["id", "split"])
        official = (row["id"] for row in rows if row["split"] == "validation")
        if ids := list(islice(official, IMAGES_CHECKED)):
            return load_pixels(classifier.ingested, ids, size=size, resize=resize)
    if (packs / "validation/pack.json").is_file():
        pack = read_pack(packs / "validation")
        if len(pack.labels) and (pack.size, pack.resize) == (size, resize):
            return np.array(pack.images[:IMAGES_CHECKED])
    raise UserError(
        f"there are no validation images of {size} pixels to check the file on, neither in "
        f"{classifier.ingested} nor in {packs}/validation; make them with 'dvc repro'"
    )


class ClassifierModule(nn.Module):
    """uint8 (N, size, size, 3) -> float32 probabilities (N, n_classes), on the CPU."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        size = classifier.pack_size
        self.members = nn.ModuleList(
            MemberModule(model, size=size, views=make_views(**classifier.test_time))
            for model in classifier.members.values()
        )
        self.ensemble = EnsembleModule(classifier.ensemble) if classifier.ensemble else None
        self.temperature = float(classifier.decision["temperature"])
        self.task = classifier.task

    def forward(self, images: Tensor) -> Tensor:
        """Ask the members, combine them, apply the temperature."""
        batch = images.permute(0, 3, 1, 2).to(torch.float32)
        logits = [member(batch) for member in self.members]
        scaled = (self.ensemble(logits) if self.ensemble else logits[0]) / self.temperature
        return F.softmax(scaled, dim=1) if self.task == "single" else torch.sigmoid(scaled)


class MemberModule(nn.Module):
    """float32 (N, 3, size, size) in [0, 255] -> logits: a network with its preprocessing.

    Logits are averaged over views, as in `predict_logits`.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor | None

    def __init__(self, model: Model, *, size: int, views: Sequence[View]) -> None:
        super().__init__()
        self.views = views
        image_size = model.preprocessing["image_size"]
        mean, std = NORMALIZATIONS[model.preprocessing["normalize"]]
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))
        weights = None if image_size == size else interpolation_weights(size, image_size)
        self.register_buffer("weights", weights)
        self.network = model.network.to("cpu")

    def forward(self, batch: Tensor) -> Tensor:
        """Look at the images in each way, and average what the network says."""
        return torch.stack([self._ask(_seen(batch, view)) for view in self.views]).mean(0)

    def _ask(self, batch: Tensor) -> Tensor:
        if self.weights is not None:
            batch = self.weights @ batch @ self.weights.T
        return self.network((batch - self.mean) / self.std)


def _seen(batch: Tensor, view: View) -> Tensor:
    """What `View.of` makes of images, of a batch (N, 3, H, W)."""
    mirrored = [side for side, flip in zip((2, 3), view.mirrored, strict=True) if flip]
    if mirrored:
        batch = batch.flip(mirrored)
    if view.offset == (0, 0):
        return batch
    border = max(map(abs, view.offset))
    padded = F.pad(batch, (border, border, border, border), mode="reflect")
    top, left = (border - pixels for pixels in view.offset)
    return padded[..., top : top + batch.shape[2], left : left + batch.shape[3]]


def interpolation_weights(size: int, image_size: int) -> Tensor:
    """Compute what `F.interpolate` (bilinear, antialiased) makes of one side of an image.

    ONNX has no such operator with torch's weights; but it is linear and takes one side after
    the other, so an image becomes W @ image @ W.T.

    Returns:
        W, float32 (image_size, size): the weight of each old pixel in each new one.
    """
    sides = torch.eye(size).view(1, 1, size, size)
    weights = F.interpolate(sides, (image_size, size), mode="bilinear", antialias=True)
    return weights.view(image_size, size)


def _metadata(classifier: Classifier) -> dict[str, str]:
    decision = classifier.decision
    told: dict[str, Any] = {
        "classes": classifier.classes,
        "threshold": decision.get("threshold"),
        "thresholds": decision.get("thresholds"),
        "temperature": decision["temperature"],
        "size": classifier.pack_size,
        "background": classifier.background,
    }
    return {
        "task": classifier.task,
        "model": classifier.name,
        "resize": classifier.resize,
        **{name: json.dumps(value, ensure_ascii=False) for name, value in told.items()},
    }


def _write(path: Path, module: nn.Module, *, metadata: dict[str, str], size: int) -> None:
    import onnx  # noqa: PLC0415 - not everybody has it

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of the exporter's own insides
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes={"images": {0: torch.export.Dim("n_images")}},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(
            f"a network of {metadata['model']} cannot be put into ONNX: "
            f"{str(error).strip().splitlines()[0]}"
        ) from None
    content = cast(torch.onnx.ONNXProgram, program).model_proto
    _forget_source(content)
    onnx.helper.set_model_props(content, metadata)
    onnx.save(content, path)


def _forget_source(model: Any) -> None:
    """Take out the exporter's notes, which tell the folders and files of this machine."""
    parts: Sequence[Any] = (*model.functions, model.graph)
    for part in parts:
        part.ClearField("metadata_props")
        for node in part.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
        for value in (*part.value_info, *getattr(part, "initializer", ())):
            value.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("metadata_props")


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    """Ask the file, in batches of any size."""
    import onnxruntime  # noqa: PLC0415 - not everybody has it

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # One alone, and the others: so N was no constant of the export.
    starts = [0, *range(1, len(images), BATCH_SIZE)]
    batches = [
        images[a:b] for a, b in zip(starts, [*starts[1:], len(images)], strict=True) if a < b
    ]
    return np.concatenate([session.run(None, {"images": batch})[0] for batch in batches])
