"""What is done with a study, a correction, a release: plain functions, and Prefect flows of them.

Each room that is a flow has one ``flow.py``, the only kind of file here that imports Prefect:
``ls flows/*/flow.py`` lists the flows. In the order in which a study meets them:

- `arrivals`: what came to the archive, complete or not, and which run it becomes
- `segmentation`: a CT in; organ SEG, review SEG and SR out
- `speech`: whether results go to the archive; what was made while the site was silent, and how good it is
- `reading`: what a reader is shown of a study, and what an answer is worth
- `serving`: a release brought to the servers, and proven there
- `corrections`: a corrected SEG comes back: understood, kept, its fate, taken back
- `cases`: cases with truth: added, accepted, frozen, erased
- `tuning`: heads tuned on corrections; what the next night would learn
- `training`: whole networks, trained again or brought in
- `calibration`: bounds fitted on the site's cases, and audited at random
- `gate`: whether a candidate may be promoted
- `promotion`: promoted, approved, rolled back, declined; what is kept of it
- `installing`: a release taken to another site; the first one of a site
- `telling`: what people are told without looking
- `nightly`: the night: what is old goes, bounds, tuning, gate
- `audit`: whether log and files are as they were recorded

Outside a room: `acts` (a name and a reason), `candidates` (their numbers), `lineage` (who learnt from whom),
`launching` (how runs are asked for), `steps` (how they are taken), `progress`, `retries`.
"""

import services  # noqa: F401  # before any library that would call out
