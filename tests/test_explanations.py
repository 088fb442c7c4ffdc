"""Explanations: the chosen test images, the attribution maps and the pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from classifold.analysis.explain import explanations
from classifold.analysis.explain.boxes import Box, inside, read_boxes
from classifold.analysis.explain.explanations import choose_images, explanation_metrics
from classifold.analysis.explain.pictures import MAPS, draw_explanations, draw_layers
from classifold.analysis.explain.saliency import explain_class
from classifold.data.image_table import write_table
from classifold.models.model_file import Model


def row_of_predictions(image_id, label, predicted, probability, *top):
    """A row of predictions.parquet; `top` is the most probable class and its probability."""
    row = {"id": image_id, "label": label, "predicted": predicted, "probability": probability}
    top_class, top_probability = top or (predicted, probability)
    return row | {"top_class": top_class, "top_probability": top_probability}


ONE = [
    row_of_predictions("a", "cat", "cat", 0.9),
    row_of_predictions("b", "cat", "dog", 0.5),
    row_of_predictions("c", "dog", "cat", 0.8),
    row_of_predictions("d", "dog", "dog", 0.4),
    row_of_predictions("e", "cat", "cat", 0.95),
    row_of_predictions("f", "owl", "cat", 0.6),
]

SEVERAL = [
    row_of_predictions("a", "cat|dog", "cat|dog", 0.5, "dog", 0.9),
    row_of_predictions("b", "cat", "cat|dog", 0.6, "cat", 0.8),
    row_of_predictions("c", "", "", 0.7, "cat", 0.2),
    row_of_predictions("d", "dog", "", 0.8, "cat", 0.1),
    row_of_predictions("e", "dog", "dog", 0.4, "dog", 0.7),
]


@pytest.mark.parametrize(
    ("predictions", "n_images", "expected"),
    [
        # The two most confident of three mistakes, then one correct prediction per class.
        (ONE, 4, "cfed"),
        (ONE, 100, "cfbeda"),
        ([row for row in ONE if row["id"] in "ade"], 2, "ed"),
        # Only a, c and e are correct: all of their labels are.
        (SEVERAL, 4, "dbca"),
        (SEVERAL, 5, "dbcae"),
    ],
)
def test_confident_mistakes_are_chosen_and_then_correct_predictions_by_class(
    predictions, n_images, expected
):
    chosen = choose_images(predictions, n_images=n_images)
    assert [row["id"] for row in chosen] == list(expected)


class Channels(nn.Module):
    """Each class is the mean of one color channel, weighted by a column of its own."""

    def forward(self, images):
        width = images.shape[-1]
        weights = torch.zeros(3, 3, width)
        for i in range(3):
            weights[i, i, i] = 1
        return torch.einsum("nchw,kcw->nk", images, weights)


ATTRIBUTION = {
    "smooth_samples": 2,
    "smooth_noise": 0.1,
    "integrated_steps": 8,
    "occluded_fraction": 0.25,
    "seed": 1,
}


def explain_images(predictions, boxes=(), network=None):
    preprocessing = {"image_size": 8, "normalize": "imagenet"}
    model = Model(network or Channels(), ["cat", "dog", "x$_", "y"], preprocessing, {})
    pixels = np.random.default_rng(1).integers(0, 256, (len(predictions), 8, 8, 3), np.uint8)
    settings = {"boxes": dict(boxes), "device": torch.device("cpu"), "attribution": ATTRIBUTION}
    return explanations.explain_images(model, predictions, pixels, **settings)


def test_the_most_probable_of_several_classes_is_explained():
    found = explain_images(SEVERAL)
    columns = [int(one.maps.saliency.sum(axis=0).argmax()) for one in found]
    assert columns == [1, 0, 0, 0, 1]  # dog, cat, cat, cat, dog
    metrics = explanation_metrics(found, model="m")
    assert (metrics["n_images"], metrics["n_correct"], metrics["n_incorrect"]) == (5, 3, 2)


def test_names_with_dollar_signs_and_of_any_length_are_drawn(tmp_path):
    name = "x$_"
    rows = [
        row_of_predictions("a", f"{name}|{'long ' * 30}", "", 0.5, name, 0.5),
        row_of_predictions("b", name, name, 0.5),
    ]
    draw_explanations(tmp_path / "drawn.png", explain_images(rows))
    assert (tmp_path / "drawn.png").stat().st_size > 1000


class Corner(nn.Module):
    """Depends on the upper left corner only."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        nn.init.constant_(self.look.weight, 0.1)

    def forward(self, images):
        corner = self.look(images)[:, :, :4, :4].mean((2, 3))  # (N, 2)
        return torch.cat([corner, -corner], dim=1)


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_a_network_that_depends_on_one_corner_are_bright_there_only(name):
    torch.manual_seed(0)
    inputs = torch.rand(1, 3, 16, 16) + 0.5
    strength = getattr(explain_class(Corner().eval(), inputs, 0, **ATTRIBUTION), name)
    assert strength.shape == (16, 16)
    assert strength.max() == pytest.approx(1)
    if name == "grad_cam":  # it weights whole maps by their gradients, wherever these lie
        return
    reach = 8 if name == "occlusion" else 5  # of the convolution; of the squares that cover it
    outside = strength.copy()
    outside[:reach, :reach] = 0
    assert outside.max() == 0
    assert strength[:4, :4].min() > 0


def test_grad_cam_is_that_of_the_last_convolution():
    class OnlyCorner(nn.Module):
        """The first convolution responds everywhere, and the last one in a corner."""

        def __init__(self):
            super().__init__()
            self.first, self.last = (nn.Conv2d(n, 2, 1, bias=False) for n in (3, 2))
            for layer in (self.first, self.last):
                nn.init.constant_(layer.weight, 0.1)

        def forward(self, images):
            everywhere = self.first(images)
            corner = torch.zeros_like(everywhere)
            corner[:, :, :4, :4] = everywhere[:, :, :4, :4]
            return self.last(corner).mean((2, 3))

    maps = explain_class(OnlyCorner().eval(), torch.ones(1, 3, 8, 8), 0, **ATTRIBUTION)
    expected = np.zeros((8, 8))
    expected[:4, :4] = 1
    np.testing.assert_allclose(maps.grad_cam, expected)


def test_occlusion_is_the_decrease_of_the_logit_by_hand():
    class Sum(nn.Module):
        def forward(self, images):
            corners = images[:, :, :4, :4] - images[:, :, 4:, 4:]
            return corners.sum((1, 2, 3))[:, None]

    inputs = torch.ones(1, 3, 8, 8)
    maps = explain_class(Sum(), inputs, 0, **ATTRIBUTION | {"occluded_fraction": 0.5})
    # Squares of 4 pixels, shifted by 2: the first covers one corner, the next ones half of it, and
    # the last one the other corner, which increases the logit.
    assert maps.occlusion[0, 0] == pytest.approx(1)
    assert maps.occlusion[2, 2] == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert maps.occlusion[7, 7] == 0


def test_integrated_gradients_of_a_linear_network_are_inputs_times_weights():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False))
    inputs = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    maps = explain_class(network, inputs, 1, **ATTRIBUTION)
    expected = (network[1].weight[1].view(3, 4, 4) * inputs[0]).abs().amax(0).detach().numpy()
    np.testing.assert_allclose(maps.integrated, expected / expected.max(), rtol=1e-4)
    assert maps.grad_cam is None


def test_which_pixels_lie_in_boxes_by_hand():
    found = inside([Box(0, 0, 0.5, 0.25), Box(0.75, 0.75, 1, 1)], (4, 4))
    np.testing.assert_array_equal(found, [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_saliency_in_boxes_is_reported_with_their_area():
    # The prediction depends on the first column of eight, which is in the box of the left half.
    rows = [row_of_predictions("a", "cat", "cat", 0.9), row_of_predictions("b", "cat", "cat", 0.8)]
    metrics = explanation_metrics(explain_images(rows, boxes={"a": [Box(0, 0, 0.5, 1)]}), model="m")
    assert metrics["n_with_boxes"] == 1
    assert metrics["saliency_in_boxes"] == pytest.approx(1)
    assert metrics["boxes_area"] == 0.5
    assert explanation_metrics(explain_images(rows), model="m")["n_with_boxes"] == 0


def test_boxes_are_read_as_fractions_of_the_image(tmp_path, encode):
    image = {"image": {"bytes": b"", "path": "x"}, "labels": [], "width": 20, "height": 10}
    boxes = {"a": [{"x0": 5, "y0": 0, "x1": 15, "y1": 5}], "b": None, "c": []}
    write_table(tmp_path, [image | {"id": name, "boxes": boxes[name]} for name in boxes])
    assert read_boxes(tmp_path, ["a", "b", "c"]) == {"a": [Box(0.25, 0, 0.75, 0.5)]}
    assert read_boxes(tmp_path, ["b"]) == {}


def test_layers_are_drawn_for_a_mistake_and_a_correct_prediction(tmp_path):
    rows = [row_of_predictions("a", "cat", "dog", 0.9), row_of_predictions("b", "dog", "dog", 0.8)]
    found = explain_images(rows, network=Corner())
    draw_layers(tmp_path, found, filters_of=1, activations_of=[1, 3])
    with Image.open(tmp_path / "filters.png") as filters:
        assert filters.size == (200, 100)
    with Image.open(tmp_path / "activations.png") as activations:
        assert activations.size == (300, 200)  # an image and two maps, of two images


def test_a_network_without_convolutions_has_no_layers_to_draw(tmp_path):
    draw_layers(tmp_path, explain_images(SEVERAL), filters_of=1, activations_of=[1])
    assert list(tmp_path.iterdir()) == []
