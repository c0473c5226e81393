"""Parts of `services.records.port` that are long, a concern a file; what holds there holds here."""
