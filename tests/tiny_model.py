"""A model and a stack that train in a moment; tests change what they are about."""

from pathlib import Path

from ruamel.yaml import YAML

from classifold.training.config import TrainingConfig

PHASE = {
    "epochs": 3,
    "trainable": "all",
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "constant"},
}
MODEL = {
    "network": "mlp",
    "arguments": {"hidden": [8], "dropout": 0.0},  # whose draws differ between processes
    "image_size": 8,
    "normalize": "half",
    "online": "none",
    "batch_size": 8,
    "seed": 1,
    "loss": {"name": "cross_entropy"},
    "phases": {"p1": PHASE},
}
STACK = {  # the settings of all methods of `fit_ensemble`
    "dense": {
        "hidden": [9],
        "dropout": 0.0,
        "lr": 0.05,
        "weight_decay": 0.0,
        "epochs": 3,
        "patience": None,
    },
    "logistic": {"c": 1.0},
    "greedy": {"rounds": 5},
}
NO_POLICY = {"fill": "reflect", "steps": []}


def config_of(pack, **changes):
    """The settings of that model for a pack."""
    settings = {name: MODEL[name] for name in ("phases", "batch_size", "seed", "normalize")}
    loss = {"name": "cross_entropy" if pack.task == "single" else "binary_cross_entropy"}
    return TrainingConfig(**settings | {"image_size": pack.size, "loss": loss} | changes)


def write_params(folder, model, **sections):
    """Write the params of the project, with the model `m` alone, and changes of sections."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    params["models"] = {"m": model}
    params["explain"]["model"] = "m"
    params["train"] |= {"device": "cpu", "precision": "fp32", "threads": 1}
    for section, settings in sections.items():
        params[section] |= settings
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
