"""Probabilities of training images by heads that were fitted without them."""

import numpy as np
from scipy.special import softmax

from classifold.data.logits_file import Logits, save_logits
from classifold.stacking.comparison import OUT_OF_FOLD
from classifold.stacking.held_out_labels import of_probes

DECISIONS = {
    "task": "single",
    "models": {"a": {"temperature": 1.0}, "b": {"temperature": 2.0}, "other": {"temperature": 9.0}},
}


def test_probabilities_of_all_probes_are_averaged_at_their_temperatures(tmp_path):
    (tmp_path / OUT_OF_FOLD).mkdir()
    ids, labels = np.array(["x", "y", "z"]), np.array([0, 1, 2])
    logits = np.random.default_rng(0).normal(0, 2, (2, 3, 3)).astype(np.float32)
    logits[1, 1] = np.nan  # a class that a head of b did not know
    for name, values in zip("ab", logits, strict=True):
        save_logits(tmp_path / OUT_OF_FOLD / f"{name}.npz", Logits(ids, labels, values))
    found = of_probes(tmp_path, DECISIONS)
    assert (found.models, found.ids) == (["a", "b"], ["x", "z"])
    np.testing.assert_array_equal(found.labels, [0, 2])
    expected = (softmax(logits[0], axis=1) + softmax(logits[1] / 2, axis=1)) / 2
    np.testing.assert_allclose(found.probabilities, expected[[0, 2]], rtol=1e-6)


def test_without_a_probe_there_are_none(tmp_path):
    assert of_probes(tmp_path, DECISIONS) is None
