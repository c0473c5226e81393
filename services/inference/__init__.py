"""The engines that run a release's networks, and what a flow asks of any of them."""
