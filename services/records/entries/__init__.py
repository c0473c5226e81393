"""What the records hold, entry by entry; a file a concern, as the protocols of `services.records.port`."""
