"""Pictures of one traced gradient: by depth, block, kind of operation and time, and the Jacobian spectrum."""
