"""A network's input-output Jacobian as a linear map, and its singular values."""
