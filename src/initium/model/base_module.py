"""`mmengine.model.base_module`: modules that carry an `init_cfg`."""

from initium import BaseModule as BaseModule
from initium import ModuleDict as ModuleDict
from initium import ModuleList as ModuleList
from initium import Sequential as Sequential
