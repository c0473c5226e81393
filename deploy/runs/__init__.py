"""Flow runs at Prefect: which can be started, by whom they are run, and how dead ones end."""
