"""Optimisers and learning-rate schedules of a recipe."""

from torch import nn, optim
from torch.optim import lr_scheduler

from reidlab.recipe.config import TrainConfig
from reidlab.training.muon import Muon


def make_optimizer(config: TrainConfig, model: nn.Module, heads: nn.Module) -> optim.Optimizer:
    """The recipe's optimiser, where PyTorch has it in its fused form.

    Args:
        config: the recipe.
        model: the network.
        heads: its identity classifiers.
    """
    if config.optimizer == "muon":
        return Muon(model.parameters(), heads.parameters(), config.lr, config.weight_decay)
    parameters = [*model.parameters(), *heads.parameters()]
    settings = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        return optim.SGD(parameters, momentum=config.momentum, **settings)
    if config.optimizer in ("adam", "amsgrad"):
        return optim.Adam(parameters, amsgrad=config.optimizer == "amsgrad", **settings)
    return optim.AdamW(parameters, **settings)


def make_scheduler(config: TrainConfig, optimizer: optim.Optimizer, steps: int):
    """The recipe's schedule.

    All but ``plateau``, which is stepped with the validation loss after every epoch, are stepped
    after every batch.

    Args:
        config: the recipe.
        optimizer: what it drives.
        steps: batches an epoch.
    """
    if config.schedule == "plateau":
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5)
    if config.schedule == "onecycle":
        # OneCycleLR divides by zero below 5 steps.
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=max(5, steps * config.epochs),
            pct_start=0.25,
            cycle_momentum=False,
        )
    if config.schedule == "inverse":  # IDLA's: about a third after 42,000 steps
        return lr_scheduler.LambdaLR(optimizer, lambda step: (1 + 1e-4 * step) ** -0.75)
    warmup = steps * config.warmup_epochs
    if config.schedule == "step":
        milestones = [steps * milestone - warmup for milestone in config.milestones]
        main = lr_scheduler.MultiStepLR(optimizer, milestones)
    else:
        total = max(1, steps * config.epochs - warmup)
        main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    if not warmup:
        return main
    ramp = lr_scheduler.LinearLR(optimizer, start_factor=config.warmup_start, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [ramp, main], milestones=[warmup])
