"""The state machine that routes every seed through the agents, and what drives it."""
