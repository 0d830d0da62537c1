"""The modules that remedies insert into networks: ordinary torch modules, which can be copied, pickled and compiled."""
