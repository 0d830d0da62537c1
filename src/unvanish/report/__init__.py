"""A run and its findings, made readable: in the terminal, as JSON, and as one page that opens offline.

Pure: the same record gives the same bytes. The room measures nothing, judges nothing, and never imports torch.
"""
