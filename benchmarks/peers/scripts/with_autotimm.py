"""AutoTimm: its data module, classifier and trainer, with its defaults, as in its quick start."""

import pandas as pd
import torch
from autotimm import (
    AutoTrainer,
    ImageClassifier,
    ImageDataModule,
    MetricConfig,
    MultiLabelImageDataModule,
    TransformConfig,
)
from PIL import Image
from protocol import Bench  # bench
from pytorch_lightning.callbacks import LambdaCallback  # bench

bench = Bench()  # bench
several = bench.task == "multi"
network = "tf_efficientnet_lite0"
torch.serialization.add_safe_globals([TransformConfig])  # of its checkpoint
transforms = {"transform_config": TransformConfig(image_size=224), "backbone": network}
if several:
    for name in ("train", "val"):
        table = pd.read_csv(bench.data / f"{name}.csv").fillna("")
        columns = table["labels"].str.get_dummies("|").reindex(columns=bench.classes, fill_value=0)
        columns.insert(0, "image", table["image"])
        columns.to_csv(bench.out / f"{name}.csv", index=False)
    csv = {f"{name}_csv": str(bench.out / f"{name}.csv") for name in ("train", "val")}
    data = MultiLabelImageDataModule(**csv, image_dir=str(bench.data), image_size=224, **transforms)
else:
    data = ImageDataModule(data_dir=str(bench.data), image_size=224, **transforms)
kind = (
    {"task": "multilabel", "num_labels": len(bench.classes)} if several else {"task": "multiclass"}
)
metric = MetricConfig("accuracy", "torchmetrics", "Accuracy", kind, ["val"], prog_bar=True)
model = ImageClassifier(
    network,
    len(bench.classes),
    multi_label=several,
    metrics=[metric],
    lr=1e-3,
    compile_model=False,
)
trainer = AutoTrainer(
    max_epochs=bench.epochs,
    tuner_config=False,
    callbacks=[LambdaCallback(on_train_epoch_end=bench.epoch)],  # bench
    default_root_dir=str(bench.out),
)
with bench.training():  # bench
    trainer.fit(model, datamodule=data)

files = sorted((bench.data / "test").iterdir())
images = [data.eval_transforms(Image.open(file).convert("RGB")) for file in files]
batches = torch.utils.data.DataLoader(torch.stack(images), batch_size=8)
scores = torch.cat(trainer.predict(model, batches, ckpt_path="best"))
chosen = scores > 0.5 if several else scores == scores.max(dim=1, keepdim=True).values
bench.n_seen = bench.epochs * bench.n_train  # bench
done = f"epochs: {bench.epochs}"  # bench
bench.report(files, bench.labels(chosen), weights="ImageNet", done=done)  # bench
