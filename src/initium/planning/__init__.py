"""Plans: what will happen to every tensor, before anything is written."""

from initium.planning.build import plan_config as plan_config
from initium.planning.collect import Declaring as Declaring
from initium.planning.collect import declaring_modules as declaring_modules
from initium.planning.collect import plan as plan
from initium.planning.collect import plan_tree as plan_tree
from initium.planning.history import remember as remember
from initium.planning.model import Plan as Plan
from initium.planning.writes import Call as Call
from initium.planning.writes import Fill as Fill
from initium.planning.writes import Finding as Finding
from initium.planning.writes import Line as Line
from initium.planning.writes import Load as Load
from initium.planning.writes import Write as Write
