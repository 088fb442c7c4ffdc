"""timm and PyTorch: a network with published weights, its own transforms, and a plain loop."""

import pandas as pd
import timm
import torch
from PIL import Image
from protocol import Bench  # bench
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch.utils.data import DataLoader, Dataset

bench = Bench()  # bench
several = bench.task == "multi"
loss_of = torch.nn.BCEWithLogitsLoss() if several else torch.nn.CrossEntropyLoss()
model = timm.create_model("tf_efficientnet_lite0", pretrained=True, num_classes=len(bench.classes))
model = model.to(memory_format=torch.channels_last)
config = timm.data.resolve_model_data_config(model)


class Images(Dataset):
    def __init__(self, name, training):
        self.rows = pd.read_csv(bench.data / f"{name}.csv").fillna("")
        self.transform = timm.data.create_transform(**config, is_training=training)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows.iloc[index]
        image = self.transform(Image.open(bench.data / row["image"]).convert("RGB"))
        labels = row.get("labels", "").split("|")
        target = torch.tensor([float(name in labels) for name in bench.classes])
        return image, target if several else target.argmax()


def predict(images):
    model.eval()
    with torch.inference_mode():
        loader = DataLoader(images, 8, num_workers=2)
        parts = [(model(x.to(memory_format=torch.channels_last)), y) for x, y in loader]
    return torch.cat([logits for logits, _ in parts]), torch.cat([y for _, y in parts])


loader = DataLoader(Images("train", True), 32, shuffle=True, num_workers=2, drop_last=True)
optimizer = create_optimizer_v2(model, opt="adamw", lr=5e-4, weight_decay=0.05)
schedule = CosineLRScheduler(optimizer, t_initial=bench.epochs * len(loader), t_in_epochs=False)
best, step = float("inf"), 0
with bench.training():  # bench
    for _ in range(bench.epochs):
        model.train()
        for images, targets in loader:
            optimizer.zero_grad()
            logits = model(images.to(memory_format=torch.channels_last))
            loss_of(logits, targets).backward()
            optimizer.step()
            schedule.step_update(step := step + 1)
        loss = loss_of(*predict(Images("val", False))).item()
        if loss < best:
            best, state = loss, {name: value.clone() for name, value in model.state_dict().items()}
        bench.epoch()  # bench

model.load_state_dict(state)
test = Images("test", False)
scores = predict(test)[0].sigmoid() if several else predict(test)[0].softmax(1)
chosen = scores > 0.5 if several else scores == scores.max(dim=1, keepdim=True).values
done = f"epochs: {bench.epochs}"  # bench
bench.report(test.rows["image"], bench.labels(chosen), weights="ImageNet", done=done)  # bench
