"""Fixtures of the tests of probes."""

from functools import partial

import pytest
import timm
import torch
from probes import NAME, build_probe, config_of
from safetensors.torch import save_file

from classifold.models.feature_cache import FeatureCache
from classifold.models.weights_file import sha256_of
from classifold.training.loop import fit
from tiny_model import NO_POLICY


@pytest.fixture(scope="module")
def probe_weights(tmp_path_factory):
    """A file with weights of timm's smallest network, and its hash."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model(NAME, pretrained=False).state_dict(), path)
    return {"file": str(path), "sha256": sha256_of(path)}


@pytest.fixture
def new_probe(probe_weights):
    return partial(build_probe, probe_weights)


@pytest.fixture
def draw_of_task(draw_pack, draw_multi_pack):
    """A pack of a task."""

    def of_task(task, *arguments, **options):
        return (draw_pack if task == "single" else draw_multi_pack)(*arguments, **options)

    return of_task


@pytest.fixture
def fit_probe(machine, tmp_path):
    features = FeatureCache(tmp_path / "features")

    def run(network, pack, validation, head, *, cache=features):
        work = {"config": config_of(pack, head), "policy": NO_POLICY, "machine": machine}
        return fit(network, pack, validation, cache=cache, **work)

    return run
