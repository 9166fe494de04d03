"""How a system is simulated: one plan, the same draws, two engines."""
