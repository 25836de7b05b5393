"""`mmengine.model.base_module`: modules that carry an `init_cfg`."""

from initium import BaseModule as BaseModule
from initium import ModuleDict as ModuleDict
from initium import ModuleList as ModuleList
from initium import Sequential as Sequential
from initium.tree import is_model_wrapper as is_model_wrapper
