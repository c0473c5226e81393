"""What starts inside a container, and what its probes ask."""
