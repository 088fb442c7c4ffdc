"""A model of `params.yaml` that trains in a moment; tests change what they are about."""

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
