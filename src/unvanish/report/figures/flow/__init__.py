"""Charts of one traced gradient flow: by depth, block, kind of operation and time, and the Jacobian spectrum."""
