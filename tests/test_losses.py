"""Losses: each against torch's, torchvision's or scikit-learn's of its name, or by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from classifold.training.losses import class_weights, make_loss, one_hot

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.3, 0.3, -0.6], [-2.0, 1.0, 4.0], [0.0, 0.0, 9.0]])
LABELS = torch.tensor([0, 1, 1, 2])
ONES = torch.eye(3)[LABELS]
SEVERAL = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
MIXED = torch.tensor([[0.7, 0.3, 0], [0, 1, 0], [0.2, 0.2, 0.6], [0.5, 0, 0.5]])
WEIGHTS = torch.tensor([0.5, 2.0, 3.0])


def log_odds(probability):
    """The logit whose sigmoid is `probability`."""
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(weights, smoothing):
    loss = make_loss(
        name="cross_entropy", task="single", weights=weights, label_smoothing=smoothing
    )
    settings = {"weight": weights, "label_smoothing": smoothing, "reduction": "none"}
    torch.testing.assert_close(loss(LOGITS, ONES), F.cross_entropy(LOGITS, LABELS, **settings))
    torch.testing.assert_close(loss(LOGITS, MIXED), F.cross_entropy(LOGITS, MIXED, **settings))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    "settings", [{"name": "cross_entropy", "label_smoothing": 0.2}, {"name": "focal", "gamma": 1.5}]
)
def test_a_softmax_loss_of_mixed_images_weights_labels_by_their_target_probabilities(
    settings, weights
):
    loss = make_loss(task="single", weights=weights, **settings)
    of_each = [loss(LOGITS, torch.eye(3)[[label] * 4]) for label in range(3)]
    expected = sum(MIXED[:, label] * of_each[label] for label in range(3))
    torch.testing.assert_close(loss(LOGITS, MIXED), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_binary_cross_entropy_is_torchs_with_pos_weight_averaged_over_classes(weights):
    loss = make_loss(name="binary_cross_entropy", task="multi", weights=weights)
    for targets in (ONES, SEVERAL, MIXED):
        settings = {"pos_weight": weights, "reduction": "none"}
        reference = F.binary_cross_entropy_with_logits(LOGITS, targets, **settings)
        torch.testing.assert_close(loss(LOGITS, targets), reference.mean(1))


def test_mean_squared_error_is_torchs_of_sigmoids():
    loss = make_loss(name="mean_squared_error", task="multi")
    for targets in (ONES, SEVERAL, MIXED):
        reference = F.mse_loss(LOGITS.sigmoid(), targets, reduction="none").mean(1)
        torch.testing.assert_close(loss(LOGITS, targets), reference)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([1.0, 0.0], (3 * 0.2**2 + 0.4**2) / 2),
        ([1.0, 1.0], (3 * 0.2**2 + 5 * 0.6**2) / 2),
    ],
)
def test_a_weighted_mean_squared_error_by_hand(targets, expected):
    loss = make_loss(name="mean_squared_error", task="multi", weights=torch.tensor([3.0, 5.0]))
    logits = torch.tensor([[log_odds(0.8), log_odds(0.4)]])
    assert loss(logits, torch.tensor([targets])).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_focal_loss_of_several_labels_is_torchvisions(gamma):
    loss = make_loss(name="focal", task="multi", gamma=gamma)
    for targets in (ONES, SEVERAL):
        reference = sigmoid_focal_loss(LOGITS, targets, alpha=-1, gamma=gamma, reduction="none")
        torch.testing.assert_close(loss(LOGITS, targets), reference.mean(1))


def test_a_focal_loss_of_mixed_labels_is_zero_at_their_target_probabilities():
    loss = make_loss(name="focal", task="multi", gamma=2.0)
    logits = torch.tensor([[log_odds(0.3)], [log_odds(0.8)]])
    found = loss(logits, torch.tensor([[0.3], [0.3]])).tolist()
    # 0.8 is off by a half; torch's cross-entropy of 0.3 against 0.8 counts by its square.
    missed = 0.5**2 * -(0.3 * math.log(0.8) + 0.7 * math.log(0.2))
    assert found == pytest.approx([0, missed])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_focal_loss_of_one_label_among_two_is_torchvisions_of_the_difference(gamma):
    loss = make_loss(name="focal", task="single", gamma=gamma)
    # The softmax of (z, 0) is the sigmoid of z.
    z = torch.linspace(-3, 3, 7)
    logits = torch.stack([z, torch.zeros(7)], 1)
    for borne in (0.0, 1.0):
        targets = torch.tensor([[borne, 1 - borne]]).expand(7, 2)
        reference = sigmoid_focal_loss(
            z, torch.full((7,), borne), alpha=-1, gamma=gamma, reduction="none"
        )
        torch.testing.assert_close(loss(logits, targets), reference)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_focal_loss_with_a_gamma_of_0_is_cross_entropy(weights):
    focal = make_loss(name="focal", task="single", gamma=0.0, weights=weights)
    entropy = make_loss(name="cross_entropy", task="single", weights=weights)
    for targets in (ONES, MIXED):
        torch.testing.assert_close(focal(LOGITS, targets), entropy(LOGITS, targets))


def test_a_weighted_focal_loss_by_hand():
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1]]))
    target = torch.tensor([[0.0, 1.0, 0.0]])
    single = make_loss(name="focal", task="single", gamma=2.0, weights=WEIGHTS)
    assert single(logits, target).item() == pytest.approx(2 * 0.7**2 * -math.log(0.3))
    several = make_loss(name="focal", task="multi", gamma=1.0, weights=torch.tensor([1.0, 4.0]))
    logits = torch.tensor([[log_odds(0.2), log_odds(0.9)]])
    expected = (0.2 * -math.log(0.8) + 4 * 0.1 * -math.log(0.9)) / 2
    assert several(logits, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(expected)


LOSSES = [
    {"name": "cross_entropy", "label_smoothing": 0.1},
    {"name": "binary_cross_entropy"},
    {"name": "mean_squared_error"},
    *({"name": "focal", "gamma": gamma} for gamma in (0.0, 0.5, 1.0, 2.0)),
]


@pytest.mark.parametrize("settings", LOSSES)
@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("label", [0, 1])
def test_certain_predictions_have_a_finite_loss_and_gradient(settings, task, label):
    logits = torch.tensor([[200.0, -200.0, -200.0]], requires_grad=True)
    loss = make_loss(task=task, **settings)(logits, torch.eye(3)[[label]])
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    # What is right is left as it is, but for smoothing and what the sigmoids' tails still give.
    if label == 0 and "label_smoothing" not in settings:
        assert abs(logits.grad).max() < 1e-6


def test_an_unknown_loss_is_an_error():
    with pytest.raises(ValueError, match="unknown loss 'hinge'"):
        make_loss(name="hinge", task="single")


@pytest.mark.parametrize("settings", [{"name": "cross_entropy"}, {"name": "focal", "gamma": 2.0}])
def test_weights_of_softmax_losses_are_scikit_learns_balanced(settings):
    labels = np.repeat([0, 1, 2], [6, 3, 1])
    weights = class_weights(labels, n_classes=3, loss=settings["name"])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    # Then the loss is the mean over classes of the mean over each one's images.
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 3))).float()
    targets = torch.from_numpy(one_hot(labels, 3))
    weighted = make_loss(task="single", weights=torch.from_numpy(weights), **settings)
    plain = make_loss(task="single", **settings)(logits, targets)
    of_classes = [plain[labels == label].mean().item() for label in range(3)]
    assert weighted(logits, targets).mean().item() == pytest.approx(sum(of_classes) / 3)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mean_squared_error", "focal"])
def test_weights_of_several_labels_are_images_without_each_over_images_with_it(loss):
    labels = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]], np.uint8)
    weights = class_weights(labels, n_classes=3, loss=loss)
    assert weights.tolist() == pytest.approx([1 / 4, 4 / 1, 3 / 2])


def test_of_one_label_losses_by_class_weigh_images_without_it_against_those_with_it():
    labels = np.array([0, 0, 0, 1, 2, 2])
    weights = class_weights(labels, n_classes=3, loss="binary_cross_entropy")
    assert weights.tolist() == pytest.approx([3 / 3, 5 / 1, 4 / 2])


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_a_class_without_images_weighs_one(loss):
    weights = class_weights(np.array([0, 0, 2]), n_classes=3, loss=loss)
    assert weights[1] == 1
    assert np.isfinite(weights).all()


def test_targets_are_a_row_of_the_identity_or_the_labels_themselves():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    several = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    found = one_hot(several, 3)
    assert found.tolist() == several.tolist()
    assert found.dtype == np.float32


@pytest.mark.parametrize("settings", LOSSES)
def test_each_images_loss_is_its_own(settings):
    loss = make_loss(task="multi", weights=WEIGHTS, **settings)
    alone = torch.cat([loss(LOGITS[[i]], MIXED[[i]]) for i in range(4)])
    torch.testing.assert_close(loss(LOGITS, MIXED), alone)
