"""Plans: what will happen to every tensor, before anything is written."""

from initium.planning.build import Planner as Planner
from initium.planning.build import plan_config as plan_config
from initium.planning.collect import Declaring as Declaring
from initium.planning.collect import declare as declare
from initium.planning.collect import include as include
from initium.planning.collect import plan as plan
from initium.planning.history import plan_of as plan_of
from initium.planning.history import planned_within as planned_within
from initium.planning.history import remember as remember
from initium.planning.history import remember_plan as remember_plan
from initium.planning.model import Plan as Plan
