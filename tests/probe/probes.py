"""Probes on the body of timm's smallest network, with weights of ours: what their tests share."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classifold.models.inference import predict_features, predict_logits
from classifold.models.model_file import new_network
from classifold.training.config import TrainingConfig

NAME = "test_efficientnet"
SIZE = {"image_size": 32, "normalize": "half"}
CPU = torch.device("cpu")
LOGISTIC = {"name": "logistic", "c": [0.001, 0.1]}
NEIGHBORS = {"name": "neighbors", "k": 5}


def build_probe(weights, n_classes=3):
    arguments = {"name": NAME, "weights": weights}
    return new_network("probe", n_classes=n_classes, image_size=32, arguments=arguments, seed=1)


def config_of(pack, head):
    loss = {"name": "cross_entropy" if pack.task == "single" else "binary_cross_entropy"}
    return TrainingConfig(seed=1, loss=loss, head=head, **SIZE)


def features_of(network, pack):
    return predict_features(network, pack.images, device=CPU, **SIZE).astype(np.float16)


def logits_of(network, pack):
    return predict_logits(network, pack.images, device=CPU, **SIZE)


def reference_regression(c):
    """The regression of scikit-learn that the linear head is to be."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
