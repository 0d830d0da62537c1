"""Reports a run and its findings in the terminal, as JSON, and as one HTML page that opens offline.

Pure: the same record gives the same bytes. Never imports torch.
"""
