"""The doors: nginx before pages, viewer and dashboard, which opens to whom the pages know.

- `main.conf`: the head; `pages.conf`, `viewer.conf`, `dashboard.conf`: a door each, included by it
- `people.conf`: who asks; `requests.conf`: what every nginx of ours does with a request
- `archive.conf`, `saves.conf`: the ways to the archive
- `configuration` writes them for one nginx, for the local stack as for containers
- `open`: the program of the container, which has nothing but Python's own library; `alive`: its health check
"""
