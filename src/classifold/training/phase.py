"""One phase of a training run: the layers that train, the optimizer, the learning rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from classifold.training.freezing import count_parameters, set_trainable
from classifold.training.frozen_body import FrozenBody
from classifold.training.machine import Machine
from classifold.training.optimizers import make_optimizer, match_memory_layout
from classifold.training.schedules import make_schedule


class Phase:
    """A network prepared for a phase, with optimizer, schedule and moving average."""

    def __init__(
        self,
        network: nn.Module,
        settings: Mapping[str, Any],
        *,
        machine: Machine,
        steps_per_epoch: int,
        ema_decay: float | None,
        gradient_clip_norm: float | None,
        body: FrozenBody | None = None,
    ) -> None:
        """Freeze layers, and make optimizer and schedule.

        Args:
            network: on the machine's device; its weights change in place.
            settings: settings of the phase: epochs, trainable, optimizer, schedule.
            machine: device, precision and processes of the training run.
            steps_per_epoch: for schedules that count steps.
            ema_decay: decay of the moving average of weights, per step; None for no average.
            gradient_clip_norm: maximum norm of the gradient; None for no clipping.
            body: if batches are features of a frozen body; what follows them computes then.
        """
        self.network, self.fabric, self.gradient_clip_norm = (
            network,
            machine.fabric,
            gradient_clip_norm,
        )
        set_trainable(
            network,
            settings["trainable"],
            freeze_batch_norm=bool(settings.get("freeze_batch_norm")),
        )
        # What computes: compiled, at the precision of training, in step with other processes.
        self.body = body
        layers: nn.Module = network if body is None else body.tail
        computing = torch.compile(layers) if machine.compile and body is None else layers
        self.module = self.fabric.setup_module(computing)  # type: ignore[arg-type]
        self.optimizer = make_optimizer(network, **settings["optimizer"])
        self._stepping: Any = self.fabric.setup_optimizers(self.optimizer)
        self.schedule = make_schedule(
            self.optimizer,
            n_epochs=settings["epochs"],
            steps_per_epoch=steps_per_epoch,
            **settings["schedule"],
        )
        self._average = (
            AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True)
            if ema_decay is not None
            else None
        )
        self._rates: list[float] = []  # lowest, highest

    @property
    def averaged(self) -> nn.Module:
        """The network that is validated and saved: the moving average, or the network itself."""
        return self._average.module if self._average is not None else self.network

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; the highest, if layers have different ones."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def backward(self, loss: Tensor, *, ends_step: bool) -> None:
        """Add the gradients of a micro-batch; after the last one of a step, update the weights."""
        # Processes exchange gradients once a step.
        with self.fabric.no_backward_sync(self.module, enabled=not ends_step):
            self.fabric.backward(loss)
        if not ends_step:
            return
        if self.gradient_clip_norm is not None:
            # A NaN is reported with the loss, and with a remedy.
            self.fabric.clip_gradients(
                self.module,
                self._stepping,
                max_norm=self.gradient_clip_norm,
                error_if_nonfinite=False,
            )
        rate = self.learning_rate
        self._rates = [min([rate, *self._rates[:1]]), max([rate, *self._rates[1:]])]
        self._stepping.step()
        self._stepping.zero_grad()
        self.schedule.after_step()
        if self._average is not None:
            self._average.update_parameters(self.network)

    def average_statistics(self) -> None:
        """Average the running statistics of norms over processes, which saw different images."""
        if self.fabric.world_size == 1:
            return
        for network in {id(each): each for each in (self.network, self.averaged)}.values():
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.fabric.all_reduce(buffer, reduce_op="mean"))  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold beside the network's weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "average": self._average.state_dict() if self._average is not None else None,
            "rates": self._rates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state that `state_dict` returned."""
        # The schedule first: the optimizer's state holds the rates of the next step.
        self.schedule.load_state_dict(state["schedule"])
        self.optimizer.load_state_dict(match_memory_layout(state["optimizer"], self.optimizer))
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._rates = list(state["rates"])

    def summary(
        self, history: Sequence[Mapping[str, Any]], best: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Summarize the phase for the metrics, as table 1 of report 004 does.

        Args:
            history: the phase's rows.
            best: the row of its best epoch.
        """
        lowest, highest = self._rates
        return {
            "n_epochs": len(history),
            "first_epoch": history[0]["epoch"],
            "last_epoch": history[-1]["epoch"],
            "best_epoch": best["epoch"],
            "lowest_learning_rate": lowest,
            "highest_learning_rate": highest,
            **{name: value for name, value in best.items() if name.startswith("validation_")},
            "n_trainable_parameters": count_parameters(self.network, trainable=True),
        }
