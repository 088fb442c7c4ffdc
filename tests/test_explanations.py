"""Which test images are explained, and which class of the answer to each."""

import numpy as np
import pytest
import torch
from torch import nn

from classifold.analysis.explanations import (
    choose_images,
    draw_explanations,
    explain_images,
    explanation_metrics,
)
from classifold.model_file import Model


def answer(image_id, label, predicted, probability, *, top_class=None, top_probability=None):
    """A row of predictions.parquet."""
    return {
        "id": image_id,
        "label": label,
        "predicted": predicted,
        "probability": probability,
        "top_class": predicted if top_class is None else top_class,
        "top_probability": probability if top_probability is None else top_probability,
    }


ONE = [
    answer("a", "cat", "cat", 0.9),
    answer("b", "cat", "dog", 0.5),
    answer("c", "dog", "cat", 0.8),
    answer("d", "dog", "dog", 0.4),
    answer("e", "cat", "cat", 0.95),
    answer("f", "owl", "cat", 0.6),
]

SEVERAL = [
    answer("a", "cat|dog", "cat|dog", 0.5, top_class="dog", top_probability=0.9),
    answer("b", "cat", "cat|dog", 0.6, top_class="cat", top_probability=0.8),
    answer("c", "", "", 0.7, top_class="cat", top_probability=0.2),
    answer("d", "dog", "", 0.8, top_class="cat", top_probability=0.1),
    answer("e", "dog", "dog", 0.4, top_class="dog", top_probability=0.7),
]


@pytest.mark.parametrize(
    ("predictions", "n_images", "expected"),
    [
        # The surest two of three mistakes, then the surest right answer of each class.
        pytest.param(ONE, 4, "cfed", id="one label"),
        pytest.param(ONE, 100, "cfbeda", id="all"),
        pytest.param([row for row in ONE if row["id"] in "ade"], 2, "ed", id="no mistake"),
        # Right are a, c and e alone: all of their labels are.
        pytest.param(SEVERAL, 4, "dbca", id="several labels"),
        pytest.param(SEVERAL, 5, "dbcae", id="several labels, all"),
    ],
)
def test_the_surest_mistakes_and_then_right_answers_class_by_class(predictions, n_images, expected):
    chosen = choose_images(predictions, n_images=n_images)
    assert [row["id"] for row in chosen] == list(expected)


class Channels(nn.Module):
    """Each class is the mean of one colour channel, weighted by a column of its own."""

    def forward(self, images):
        width = images.shape[-1]
        weights = torch.zeros(3, 3, width)
        for i in range(3):
            weights[i, i, i] = 1
        return torch.einsum("nchw,kcw->nk", images, weights)


def explained(predictions):
    settings = {"image_size": 8, "normalize": "imagenet"}
    model = Model(Channels(), ["cat", "dog", "x$|_".replace("|", "")], settings, {})
    pixels = np.random.default_rng(1).integers(0, 256, (len(predictions), 8, 8, 3), np.uint8)
    return explain_images(
        model,
        predictions,
        pixels,
        device=torch.device("cpu"),
        smooth_samples=2,
        smooth_noise=0.1,
        seed=1,
    )


def test_the_likeliest_class_of_several_is_what_is_explained():
    explanations = explained(SEVERAL)
    columns = [int(one.maps.saliency.sum(axis=0).argmax()) for one in explanations]
    assert columns == [1, 0, 0, 0, 1]  # dog, cat, cat, cat, dog
    metrics = explanation_metrics(explanations, model="m")
    assert (metrics["n_images"], metrics["n_right"], metrics["n_wrong"]) == (5, 3, 2)


def test_names_with_marks_of_mathematics_and_of_any_length_are_drawn(tmp_path):
    name = "x$_"
    rows = [
        answer("a", f"{name}|{'long ' * 30}", "", 0.5, top_class=name, top_probability=0.5),
        answer("b", name, name, 0.5),
    ]
    draw_explanations(tmp_path / "drawn.png", explained(rows))
    assert (tmp_path / "drawn.png").stat().st_size > 1000
