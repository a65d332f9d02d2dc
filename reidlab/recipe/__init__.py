"""What is to be trained, said without torch: settings, recipes, starts, studies."""

from reidlab.recipe.config import RECIPES, TrainConfig
from reidlab.recipe.init import Init
from reidlab.recipe.study import Study

__all__ = ["RECIPES", "Init", "Study", "TrainConfig"]
