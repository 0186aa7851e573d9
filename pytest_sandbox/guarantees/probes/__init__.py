"""Our probes, one module for each family of attacks; each has a tuple ``PROBES``."""
