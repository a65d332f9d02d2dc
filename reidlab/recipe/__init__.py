"""What is to be trained, said without torch: settings, recipes, starts, studies."""

from reidlab.recipe.config import PRESETS, TrainConfig, changed_settings

__all__ = ["PRESETS", "TrainConfig", "changed_settings"]
