"""Orthanc as Organloop wants it, with Python's library alone: the gateway's image has nothing else.

- `archive.json`: what is the same for the local stack and Compose; the chart renders it too
- `doors.lua`, `room.lua`: what each password opens, and what becomes of a full disk
- `modalities`: whom it speaks DIMSE with; `container`: the program of Compose's archive
"""
