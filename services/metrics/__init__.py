"""What Prometheus is told: figures of the work, counted from the events on record."""
