"""The model owner's pages.

- `now`: what serves, how it fares, what stands still
- `weekly`: how often organs are flagged and edited, counted beside the requests
- `candidates`: releases, why the gate decided so, what each learnt, what stands in the way
- `decisions`: promote, decline, roll back
- `at_work`: an act that takes a while, done beside the request
- `roles`: who may look at releases, and who decides on them
"""
