"""One rank of a cluster, without the cluster: what it holds, draws and needs; and is it right?"""

from initium.simulation.result import Part as Part
from initium.simulation.result import Simulation as Simulation
from initium.simulation.simulating import simulate as simulate
