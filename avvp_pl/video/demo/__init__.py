"""The clips of ``python -m avvp_pl.clips``: eight made-up events, which are heard and seen in small videos."""
