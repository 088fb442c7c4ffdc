"""Networks have the parameters their sources count, a head of our size, and no memory of others.

Large ones are built without memory for their weights, on torch's meta device.
"""

import hashlib
import itertools
import re
import socket
import subprocess
import sys
from importlib import import_module
from inspect import signature

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from classifold.errors import UserError
from classifold.models.model_file import build_network
from classifold.models.weights import Weights
from classifold.networks import alphanet, initial_cnn, mlp, simple_convnet, small_resnet, vgg
from classifold.networks import timm as timm_network
from classifold.networks import torchvision as torchvision_network
from classifold.training.freezing import count_parameters, set_trainable

# A small one of each kind of head.
ONE_PER_HEAD = {"alexnet", "mobilenet_v3_small", "resnet18", "squeezenet1_1", "swin_t", "vit_b_32"}

# Small settings of every network of ours, for images of 16 pixels.
OURS = {
    "mlp": {"hidden": [12]},
    "initial_cnn": {"channels": [3, 4], "hidden": [12, 8]},
    "alphanet": {"dropout": 0.2, "widths": [4, 8], "dense": [12]},
    "simple_convnet": {"widths": [4, 8], "depths": [1, 2], "hidden": [12]},
    "small_resnet": {"widths": [16, 20], "depth": 1},
    "vgg": {"widths": [4, 8], "depths": [1, 2], "dense": [12]},
}
WITH_DROPOUT = [
    name
    for name in OURS
    if "dropout" in signature(import_module(f"classifold.networks.{name}").build).parameters
]


class Weightless(TorchFunctionMode):
    """Weights take no memory; `torch.device("meta")` would keep RegNet from counting its widths."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.empty:
            kwargs["device"] = "meta"
        return function(*args, **kwargs)


def build_small(name, *, n_classes=3, image_size=16, **changes):
    torch.manual_seed(0)
    return build_network(
        name, n_classes=n_classes, image_size=image_size, arguments=OURS[name] | changes
    )


@pytest.mark.parametrize(
    ("module", "n_classes", "arguments", "n_parameters"),
    [
        (mlp, 3, {"image_size": 300, "hidden": (255,)}, 68_851_023),  # report 002, 4.1
        (initial_cnn, 3, {"image_size": 300}, 9_966_691),  # report 002, 4.2
        (simple_convnet, 14, {"image_size": 128}, 11_098_110),  # report 001, 7
    ],
)
def test_a_published_network_has_the_published_number_of_parameters(
    module, n_classes, arguments, n_parameters
):
    with torch.device("meta"):
        network = module.build(n_classes, **arguments)
    assert count_parameters(network) == n_parameters
    logits = network(torch.empty(1, 3, *[arguments["image_size"]] * 2, device="meta"))
    assert logits.shape == (1, n_classes)


def test_alphanet_has_the_parameters_of_its_layers():
    with torch.device("meta"):
        network = alphanet.build(5, image_size=64, dropout=0.2, widths=(8, 16), dense=(32,))
    convolutions = 9 * (3 * 8 + 8 * 8 + 8 * 16 + 16 * 16)
    dense = 16 * 16 * 16 * 32
    norms = 2 * (8 + 8 + 16 + 16 + 32)
    assert count_parameters(network) == convolutions + dense + norms + 32 * 5 + 5


@pytest.mark.parametrize(("given", "of_dense"), [({}, 0.4), ({"dense_dropout": 0.5}, 0.5)])
def test_alphanet_may_drop_more_after_its_dense_layers(given, of_dense):
    network = alphanet.build(3, image_size=8, dropout=0.4, widths=(2, 2), dense=(4, 4), **given)
    dropped = {
        part: [layer.p for layer in getattr(network, part) if isinstance(layer, torch.nn.Dropout)]
        for part in ("blocks", "dense")
    }
    assert dropped == {"blocks": [0.4] * 2, "dense": [of_dense] * 2}


def test_vgg_has_the_parameters_of_report_004_and_trains_what_it_trains():
    with torch.device("meta"):
        network = vgg.build(200, image_size=64)
    channels = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convolutions = sum(9 * i * o + o for i, o in itertools.pairwise(channels))
    first = 512 * 2 * 2 * 512 + 512 + 2 * 512
    second = 512 * 512 + 512 + 2 * 512
    head = 512 * 200 + 200
    assert count_parameters(network) == convolutions + first + second + head == 16_131_080

    set_trainable(network, ["dense", "head"])  # "around 1.4 million"
    assert count_parameters(network, trainable=True) == first + second + head == 1_416_392
    set_trainable(network, "head")
    assert count_parameters(network, trainable=True) == head


def test_dense_blocks_of_vgg_have_the_reports_order():
    network = vgg.build(3, image_size=8, widths=(4,), depths=(1,), dense=(6, 5))
    kinds = [type(layer).__name__ for layer in network.dense]
    assert kinds == ["Flatten", *["Linear", "ReLU", "BatchNorm1d", "Dropout"] * 2]


@pytest.mark.parametrize(("depths", "name"), vgg.PUBLISHED.items())
def test_convolutions_of_vgg_are_those_of_torchvisions(depths, name):
    with torch.device("meta"):
        ours = vgg.build(3, image_size=64, depths=depths)
    with Weightless():
        theirs = torchvision.models.get_model(name)
    assert str(ours.features) == str(theirs.features).replace("inplace=True", "")
    shapes, published = (
        {key: value.shape for key, value in network.features.state_dict().items()}
        for network in (ours, theirs)
    )
    assert shapes == published


def test_images_differ_after_all_of_vggs_convolutions():
    torch.manual_seed(0)
    network = vgg.build(3, image_size=32, dense=(4,)).eval()
    features = network.features(torch.randn(4, 3, 32, 32)).flatten(1)
    assert features.std(0).mean() > 1e-3  # with torch's own start 5e-7


def test_small_resnet_of_eighteen_layers_has_their_parameters():
    with torch.device("meta"):
        network = small_resnet.build(200, image_size=64, widths=(64, 128, 256, 512))
    convolutions = 3 * 64 * 9 + 4 * 64 * 64 * 9
    norms = 4 * 2 * 64 + 2 * 512
    for width in (128, 256, 512):
        convolutions += (width // 2) * width * (9 + 1) + 3 * width * width * 9
        norms += 2 * (width // 2) + 3 * 2 * width
    assert count_parameters(network) == convolutions + norms + 512 * 200 + 200


@pytest.mark.parametrize(("depth", "stride", "side"), [(1, 1, 4), (2, 1, 4), (1, 2, 2), (1, 4, 1)])
def test_small_resnet_halves_the_sides_at_each_stage_but_the_first(depth, stride, side):
    settings = {"widths": (4, 6, 8), "depth": depth, "stem_stride": stride}
    network = small_resnet.build(3, image_size=16, **settings)
    assert len(network.blocks) == 3 * depth
    features = network.blocks(network.stem(torch.zeros(2, 3, 16, 16)))
    assert features.shape == (2, 8, side, side)


def test_small_resnet_has_stems_of_three_strides():
    with pytest.raises(ValueError, match="stem_stride must be 1, 2 or 4, got 3"):
        small_resnet.build(3, image_size=16, stem_stride=3)


def test_a_residual_block_whose_convolutions_are_zero_passes_its_input_on():
    block = small_resnet.ResidualBlock(4, 4, stride=1).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    features = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize("name", OURS)
def test_an_images_logits_do_not_depend_on_its_batch_in_evaluation(name):
    network = build_small(name).eval()
    images = torch.randn(6, 3, 16, 16)
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    assert together.shape == (6, 3)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("name", OURS)
def test_every_parameter_learns_from_the_loss(name):
    network = build_small(name).train()
    logits = network(torch.randn(8, 3, 16, 16))
    torch.nn.functional.cross_entropy(logits, torch.arange(8) % 3).backward()
    assert [key for key, p in network.named_parameters() if p.grad.abs().sum() == 0] == []


@pytest.mark.parametrize("name", OURS)
def test_the_head_gives_the_logits(name):
    network = build_small(name, n_classes=7).eval()
    torch.nn.init.zeros_(network.head.weight)
    network.head.bias.data = torch.arange(7.0)
    logits = network(torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(logits, torch.arange(7.0).repeat(2, 1))


@pytest.mark.parametrize("name", WITH_DROPOUT)
def test_dropout_acts_only_in_training(name):
    network = build_small(name, dropout=0.5)
    for layer in network.modules():
        if "BatchNorm" in type(layer).__name__:
            layer.momentum = 0
    images = torch.randn(4, 3, 16, 16)
    assert not torch.equal(network.train()(images), network(images))
    assert torch.equal(network.eval()(images), network(images))


NARROW = """
import torch
from classifold.models.model_file import build_network

torch.set_num_threads(1)
weights = []
for _ in range(2):
    torch.manual_seed(0)
    arguments = {"widths": [4, 8], "depth": 1}
    network = build_network("small_resnet", n_classes=3, image_size=16, arguments=arguments)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(60):
        images = torch.randn(8, 3, 16, 16).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), torch.arange(8) % 3).backward()
        optimizer.step()
    weights.append(network.state_dict())
assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
"""


@pytest.mark.slow
def test_a_narrow_small_resnet_trains_the_same_twice_without_harm_to_memory():
    # In a process of its own: oneDNN writes past its memory in the weights' gradient of a strided
    # 1x1 convolution of few channels in channels_last order (uxlfoundation/oneDNN issue 6035).
    done = subprocess.run(
        [sys.executable, "-c", NARROW], timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_networks_are_built_in_channels_last_order():
    weight = build_small("small_resnet").blocks[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "image_size"),
    [("alphanet", 4), ("initial_cnn", 12), ("initial_cnn", 4), ("simple_convnet", 8), ("vgg", 16)],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
def test_a_network_for_larger_images_is_an_error_when_it_is_built(name, image_size):
    arguments = {"dropout": 0.2}
    with pytest.raises(UserError, match=f"network: {name} .* images of {image_size} pixels"):
        build_network(name, n_classes=3, image_size=image_size, arguments=arguments)


def test_invalid_arguments_of_a_network_are_an_error_with_their_values():
    with pytest.raises(UserError, match=r"network: mlp cannot be built .*'dropout': 1.5"):
        build_network("mlp", n_classes=3, image_size=8, arguments={"dropout": 1.5})
    with pytest.raises(UserError, match=r"network: initial_cnn cannot be built .*'channels'"):
        build_network("initial_cnn", n_classes=3, image_size=32, arguments={"channels": [1, 2, 3]})


def build_meta(name, *, image_size):
    with Weightless():
        return torchvision_network.build(5, image_size=image_size, name=name).to("meta")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ONE_PER_HEAD else pytest.mark.slow)
        for name in torchvision.models.list_models(module=torchvision.models)
    ],
)
def test_every_classifier_of_torchvision_has_n_classes_logits(name):
    image_size = 299 if name == "inception_v3" else 224
    network = build_meta(name, image_size=image_size).eval()
    logits = network(torch.empty(1, 3, image_size, image_size, device="meta"))
    assert logits.shape == (1, 5)
    head = network.head
    assert (head.out_channels if isinstance(head, torch.nn.Conv2d) else head.out_features) == 5
    set_trainable(network, "head")
    assert count_parameters(network, trainable=True) == sum(p.numel() for p in head.parameters())
    network.load_state_dict(dict(network.state_dict()))  # as stored: without torch's metadata


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_there_are_no_auxiliary_outputs_in_training(name):
    network = build_meta(name, image_size=299)
    assert network.train()(torch.empty(2, 3, 299, 299, device="meta")).shape == (2, 5)


@pytest.mark.parametrize("name", ["vit_b_16", "maxvit_t"])
def test_transformers_take_the_size_of_our_images(name):
    network = build_meta(name, image_size=448)
    assert network.eval()(torch.empty(1, 3, 448, 448, device="meta")).shape == (1, 5)


@pytest.mark.parametrize("name", ["vit_b_16", "maxvit_t"])
def test_a_size_that_a_transformer_cannot_divide_is_an_error(name):
    with Weightless(), pytest.raises(UserError, match=r"network: torchvision .* of 100 pixels"):
        build_network("torchvision", n_classes=5, image_size=100, arguments={"name": name})


def weights_setting(path, tensors):
    """Write a weights file, and return its `weights` setting of params."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def changed_tensors(network, published):
    """The tensors of a network that are not those of a file."""
    return {
        key
        for key, value in network.state_dict().items()
        if key not in published or not torch.equal(value, published[key])
    }


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_fills_every_layer_but_the_head(tmp_path, suffix):
    torch.manual_seed(1)
    published = torchvision.models.resnet18().state_dict()
    weights = weights_setting(tmp_path / f"resnet18{suffix}", published)
    network = torchvision_network.build(7, image_size=64, name="resnet18", weights=weights)
    assert changed_tensors(network.backbone, published) == {"fc.weight", "fc.bias"}
    assert network.head.out_features == 7


def test_what_we_trained_starts_another_training(tmp_path):
    arguments = {"name": "squeezenet1_1"}
    trained = build_network("torchvision", n_classes=3, image_size=32, arguments=arguments)
    arguments["weights"] = weights_setting(tmp_path / "w.safetensors", trained.state_dict())
    network = build_network("torchvision", n_classes=4, image_size=32, arguments=arguments)
    head = {"backbone.classifier.1.weight", "backbone.classifier.1.bias"}
    assert changed_tensors(network, trained.state_dict()) == head


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("resnet34", "unexpected .*layer1.2.conv1.weight.*arguments of the network"),
        ("squeezenet1_1", "0 of .*, missing .*Use weights of this network"),
    ],
)
def test_weights_of_another_network_are_an_error(tmp_path, given, advice):
    weights = weights_setting(tmp_path / "w.pth", torchvision.models.get_model(given).state_dict())
    with pytest.raises(UserError, match=rf"arguments.weights \(.*w.pth\): must match .*{advice}"):
        torchvision_network.build(5, image_size=32, name="resnet18", weights=weights)


def test_published_names_of_densenet_are_those_of_an_older_torchvision(tmp_path):
    state = torchvision.models.densenet121().state_dict()
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value
        for key, value in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    weights = weights_setting(tmp_path / "w.pth", older)
    network = torchvision_network.build(5, image_size=32, name="densenet121", weights=weights)
    assert changed_tensors(network.backbone, state) == {"classifier.weight", "classifier.bias"}


def test_a_vision_transformers_positions_are_interpolated_to_our_images(monkeypatch):
    # Of the smallest sizes, in place of torchvision's 86 million parameters.
    def smallest(name, *, num_classes, image_size, weights):
        sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
        vit = torchvision.models.VisionTransformer
        return vit(image_size, patch_size=16, num_classes=num_classes, **sizes)

    monkeypatch.setattr(torchvision.models, "get_model", smallest)
    published = smallest("", num_classes=9, image_size=64, weights=None).state_dict()
    positions = published["encoder.pos_embedding"].normal_()
    positions[:, 1:] = torch.linspace(-1, 1, 4).repeat(4)[:, None]  # from left to right
    older = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for key, value in published.items()
    }
    found = Weights(older, {"source": "torchvision", "tag": "DEFAULT"})
    monkeypatch.setattr(torchvision_network, "find_weights", lambda *_, **__: found)
    network = torchvision_network.build(5, image_size=112, name="vit_b_16", weights="DEFAULT")
    new = {"encoder.pos_embedding", "heads.head.weight", "heads.head.bias"}
    assert changed_tensors(network.backbone, published) == new
    ours = network.backbone.encoder.pos_embedding.detach()
    assert torch.equal(ours[:, 0], positions[:, 0])
    assert ours.shape == (1, 1 + 7 * 7, 8)
    torch.testing.assert_close(ours[0, 1::7, 0], torch.full((7,), -1.0))
    torch.testing.assert_close(ours[0, 7::7, 0], torch.full((7,), 1.0))


def test_auxiliary_heads_are_ignored_and_pixels_are_as_for_other_weights(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.googlenet(aux_logits=True, init_weights=False, num_classes=5)
    published = theirs.state_dict()
    weights = weights_setting(tmp_path / "w.pth", published)
    network = torchvision_network.build(5, image_size=32, name="googlenet", weights=weights)
    assert changed_tensors(network.backbone, published) == {"fc.weight", "fc.bias"}

    # torchvision trained it on pixels from -1 to 1; ours are normalized as ImageNet's.
    images = torch.rand(2, 3, 32, 32)
    mean, std = (
        torch.tensor(values).view(3, 1, 1)
        for values in [(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)]
    )
    network.head.load_state_dict(theirs.fc.state_dict())
    theirs.transform_input = False
    torch.testing.assert_close(network.eval()((images - mean) / std), theirs.eval()(2 * images - 1))


def test_published_weights_fill_the_convolutions_of_vgg(tmp_path):
    torch.manual_seed(1)
    depths = (1, 1, 2, 2, 2)
    convolutions = vgg.build(3, image_size=32, depths=depths).features.state_dict()
    published = {f"features.{key}": value for key, value in convolutions.items()}
    published |= {"classifier.0.weight": torch.ones(3), "classifier.6.bias": torch.ones(3)}
    weights = weights_setting(tmp_path / "w.pth", published)
    network = vgg.build(4, image_size=32, depths=depths, weights=weights)
    assert network.weights == {"source": "file", **weights}
    assert changed_tensors(network.features, convolutions) == set()


def test_a_vgg_of_other_sizes_has_no_published_weights():
    for sizes in ({"widths": (4, 8), "depths": (1, 1)}, {"depths": (1, 1, 1, 1, 1)}):
        with pytest.raises(UserError, match=r"must be null or a file as .*got 'DEFAULT'"):
            vgg.build(3, image_size=32, weights="DEFAULT", **sizes)


@pytest.fixture
def no_connections(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# Of timm's smallest, one of each kind; the head of `levit_128s` is two layers with norms.
TIMM = ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "levit_128s"]


def build_timm(name, **arguments):
    torch.manual_seed(0)
    return build_network("timm", n_classes=5, image_size=224, arguments={"name": name} | arguments)


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm_have_a_new_head(name, no_connections):
    network = build_timm(name).eval()
    assert network.head.out_features == 5
    torch.nn.init.zeros_(network.head.weight)
    network.head.bias.data = torch.arange(5.0)
    logits = network(torch.randn(2, 3, 224, 224))
    torch.testing.assert_close(logits, torch.arange(5.0).repeat(2, 1))


@pytest.mark.parametrize(
    ("name", "last", "image_axes"),
    [
        ("test_resnet", "layer4", (2, 3)),
        ("test_efficientnet", "bn2", (2, 3)),
        ("test_vit", "norm", 1),
        ("swin_tiny_patch4_window7_224", "norm", (1, 2)),
    ],
)
def test_features_of_a_layer_are_its_output_averaged_over_the_image(name, last, image_axes):
    network, images = build_timm(name, layers=[last]).eval(), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        features, logits = network.features(images), network(images)
        pooled, maps = network.backbone(images), network.backbone.forward_features(images)
    expected = torch.cat([pooled, maps.mean(image_axes)], dim=1)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(logits, network.head(expected))


@pytest.mark.parametrize(
    ("layer", "message"),
    [("layer9", "must name layers .*got 'layer9'.*layer4"), ("global_pool", "which returns")],
)
def test_layers_without_maps_are_an_error(layer, message):
    with pytest.raises(UserError, match=message):
        build_timm("test_resnet", layers=[layer])


@pytest.mark.parametrize("name", TIMM)
def test_a_file_fills_all_of_timms_networks_but_the_head(name, tmp_path, no_connections):
    torch.manual_seed(1)
    sized = {"img_size": 224} if name == "test_vit" else {}  # which was made for 160 pixels
    published = timm.create_model(name, num_classes=9, **sized).state_dict()
    network = build_timm(name, weights=weights_setting(tmp_path / "w.safetensors", published))
    assert changed_tensors(network.backbone, published) == set()


def test_what_we_trained_with_timm_starts_another_training(tmp_path):
    trained = build_timm("test_convnext")
    torch.nn.init.normal_(trained.backbone.stem[0].weight)
    weights = weights_setting(tmp_path / "w.safetensors", trained.state_dict())
    network = build_timm("test_convnext", weights=weights)
    assert changed_tensors(network.backbone, trained.backbone.state_dict()) == set()


def test_timms_positions_are_interpolated_to_our_images(tmp_path):
    published = timm.create_model("test_vit", num_classes=9, img_size=64).state_dict()
    weights = weights_setting(tmp_path / "w.pth", published)
    network = timm_network.build(5, image_size=96, name="test_vit", weights=weights)
    assert changed_tensors(network.backbone, published) == {"pos_embed"}
    assert network.backbone.pos_embed.shape[1] == 1 + (96 // 16) ** 2


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "levit_128s"])
def test_timm_refuses_the_weights_of_another_network(name, tmp_path):
    weights = weights_setting(tmp_path / "w.pth", build_small("mlp").state_dict())
    with pytest.raises(UserError, match=r"arguments.weights.*Use weights of this network"):
        build_timm(name, weights=weights)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet19", "Did you mean 'resnet18'. "),
        *((name, "") for name in ("hf-hub:timm/resnet18", "local-dir:/tmp", "timm/x")),
    ],
)
def test_an_unknown_network_of_timm_is_an_error_without_a_download(name, hint, no_connections):
    with pytest.raises(UserError, match=rf"timm's networks, got '{name}'. {hint}See timm.list"):
        build_timm(name)


@pytest.mark.parametrize(("name", "hint"), [("resnet19", "Did you mean 'resnet18'. "), ("qqq", "")])
def test_an_unknown_network_of_torchvision_is_an_error(name, hint):
    with pytest.raises(UserError, match=rf"arguments.name: must .* got '{name}'. {hint}See tor"):
        torchvision_network.build(5, image_size=32, name=name)


def test_an_error_for_images_of_the_wrong_size_of_timm_has_their_size():
    with pytest.raises(UserError, match=r"network: timm cannot be built for images of 4 pixels"):
        build_network("timm", n_classes=3, image_size=4, arguments={"name": "inception_v3"})
