"""Pictures and pages for people, nothing fetched from elsewhere."""
