"""The patient of the object that the doctor stores in an archive and deletes again."""

TEST_PATIENT = "ORGANLOOP-DOCTOR"
"""Patient ID of that object; it goes on to no PACS."""
