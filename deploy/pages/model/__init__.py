"""The model owner's pages.

- `now`: what serves, how it fares, what stands still
- `weekly`: how often organs are flagged and edited, counted beside the requests
- `candidates`: releases, why the gate decided so, what each learnt, what stands in the way
- `decisions`: promote, decline, roll back; a worker does what is asked for here
- `roles`: who may look at releases, and who decides on them
- `log`: who did what; `sentences`: in words; `log_look`: the whole log, verified beside the requests
- `packs`: the evidence packs of promotions
- `tonight`: the next night; `lessons`: what it learns; `nights`: those at Prefect; `disk`: what lies there
- `beside`: what takes long is worked out beside the requests
"""
