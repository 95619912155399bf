"""From a module to a network: one recorded pass, read back into layers."""

from .module_network import ModuleNetwork, network, read

__all__ = ["ModuleNetwork", "network", "read"]
