"""Export a classifier as one ONNX file, from stored pixels to probabilities.

The graph's input is uint8 (N, size, size, 3) RGB, as in the pack, and its output float32
(N, n_classes). The steps before it (decoding, turning upright, one resize by Pillow) are
described in the file's metadata.
"""

import importlib.util
import json
import warnings
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from classifold.data.image_table import iter_columns
from classifold.data.pack import read_pack
from classifold.data.pixels import load_pixels
from classifold.errors import UserError
from classifold.models.inference import BATCH_SIZE
from classifold.runtime.atomic_files import new_file
from classifold.runtime.faults import first_line
from classifold.serving.module import ClassifierModule
from classifold.serving.predict import Classifier

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 20

N_CHECKED_IMAGES = 128
MAX_DIFFERENCE = 1e-4

MAX_BYTES = 2**31 - 2**24  # size of weights: an ONNX file holds 2 GiB with its graph


class Exported(NamedTuple):
    """The result of the comparison with PyTorch."""

    n_images: int
    max_difference: float  # largest difference of probabilities


def export_onnx(path: Path, classifier: Classifier, images: np.ndarray) -> Exported:
    """Write a classifier as ONNX, provided that the file's predictions equal PyTorch's.

    The file's metadata: `classes` (JSON, in the order of probabilities), `task`, `threshold` and
    `thresholds` (JSON; null for one label per image), `temperature` (applied inside),
    `prediction_sets`, `abstention` (JSON: thresholds of the probabilities, by level and by
    accuracy), `size`, `resize`, `background`, `ranges` (of deep images, JSON), `model`.

    Args:
        path: the file to write; it appears whole or not at all.
        classifier: the stack or a model.
        images: uint8 array (N, size, size, 3), N at least 1: real images to check the file on.

    Raises:
        UserError: if a package is missing, the networks are too large or cannot be exported, or
            the predictions differ.
    """
    require_packages()
    expected = classifier.probabilities(images)
    module = ClassifierModule(classifier).eval()
    n_bytes = sum(p.numel() * p.element_size() for p in module.state_dict().values())
    if n_bytes > MAX_BYTES:
        raise UserError(
            f"{classifier.name}: the weights must fit into {MAX_BYTES:,} bytes, the limit of an "
            f"ONNX file, got {n_bytes:,}. Export a single model with --model."
        )
    with new_file(path) as partial:
        _write(partial, module, metadata=_metadata(classifier), size=classifier.pack_size)
        difference = float(np.abs(_run(partial, images) - expected).max())
        if not difference <= MAX_DIFFERENCE:  # so NaN is refused, too
            raise UserError(
                f"{path}: probabilities of {classifier.name} must differ from PyTorch's by at most "
                f"{MAX_DIFFERENCE:g}, got {difference:.2g} on {len(images)} images. The file is "
                "not kept; use 'classifold predict' instead."
            )
    return Exported(len(images), difference)


def require_packages() -> None:
    """Check that the packages that write and run ONNX are installed.

    Raises:
        UserError: if they are not.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"{', '.join(missing)}: not installed, but needed for export. Run 'pip install "
            "classifold[onnx]', or in a clone 'make setup'."
        )


def read_validation_images(classifier: Classifier, *, packs: Path) -> np.ndarray:
    """Read some validation images: from the image table, or else from the pack.

    Args:
        classifier: its image table is read, and its size of images used.
        packs: the output folder of `augment`.

    Returns:
        uint8 array (N, size, size, 3).

    Raises:
        UserError: if there are none.
    """
    size, resize = classifier.pack_size, classifier.resize
    if classifier.ingested.is_dir():
        rows = iter_columns(classifier.ingested, ["id", "split"])
        official = (row["id"] for row in rows if row["split"] == "validation")
        if ids := list(islice(official, N_CHECKED_IMAGES)):
            return load_pixels(classifier.ingested, ids, size=size, resize=resize)
    if (packs / "validation/pack.json").is_file():
        pack = read_pack(packs / "validation")
        if len(pack.labels) and (pack.size, pack.resize) == (size, resize):
            return np.array(pack.images[:N_CHECKED_IMAGES])
    raise UserError(
        f"{classifier.ingested}, {packs}/validation: no validation images of {size} pixels to "
        "check the file on. Make them with 'dvc repro'."
    )


def _metadata(classifier: Classifier) -> dict[str, str]:
    decision = classifier.decision
    values: dict[str, Any] = {
        "classes": classifier.classes,
        "threshold": decision.get("threshold"),
        "thresholds": decision.get("thresholds"),
        "temperature": decision["temperature"],
        "prediction_sets": decision.get("prediction_sets", {}),
        "abstention": decision.get("abstention", {}),
        "size": classifier.pack_size,
        "background": classifier.background,
        "ranges": classifier.ranges,
    }
    return {
        "task": classifier.task,
        "model": classifier.name,
        "resize": classifier.resize,
        **{name: json.dumps(value, ensure_ascii=False) for name, value in values.items()},
    }


def _write(path: Path, module: nn.Module, *, metadata: dict[str, str], size: int) -> None:
    import onnx  # noqa: PLC0415 - an optional package

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # about the exporter's own code
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
            f"{metadata['model']}: a network cannot be exported to ONNX "
            f"({first_line(error)}). Export another model with --model."
        ) from None
    content = cast(torch.onnx.ONNXProgram, program).model_proto
    _remove_source_notes(content)
    onnx.helper.set_model_props(content, metadata)
    onnx.save(content, path)


def _remove_source_notes(message: Any) -> None:
    """Remove the exporter's notes at any depth, since they contain paths of this machine."""
    for note in {"metadata_props", "doc_string"}.intersection(message.DESCRIPTOR.fields_by_name):
        message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                _remove_source_notes(part)


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    """Compute the file's probabilities, in batches of several sizes."""
    import onnxruntime  # noqa: PLC0415 - an optional package

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # The first image alone, then the others: N must not have become a constant in the export.
    starts = [0, *range(1, len(images), BATCH_SIZE)]
    batches = [
        images[a:b] for a, b in zip(starts, [*starts[1:], len(images)], strict=True) if a < b
    ]
    return np.concatenate([session.run(None, {"images": batch})[0] for batch in batches])
