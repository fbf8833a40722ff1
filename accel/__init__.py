"""How fast? Machines that run the integer network and count cycles."""
