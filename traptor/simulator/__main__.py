from traptor.simulator.cli import simulate

simulate()
