"""The modules that remedies put into networks: ordinary torch modules, one kind a file. They know no remedy and no network."""
