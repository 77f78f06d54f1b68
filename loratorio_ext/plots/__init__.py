"""Pictures and charts of what a run did; no host, no page."""
