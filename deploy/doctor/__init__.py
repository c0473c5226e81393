"""`organloop doctor`: looks at everything a site needs, and says what to do about what is wrong."""

TEST_PATIENT = "ORGANLOOP-DOCTOR"
"""Patient ID of the object that is stored and deleted again; it goes on to no PACS."""
