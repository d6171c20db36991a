"""Versions of torch and of what it was built for."""

import sys
from importlib.metadata import PackageNotFoundError, version

import torch

__all__ = ["torch_versions"]

_BUILT_FOR = {"CUDA": "cuda", "HIP": "hip", "SYCL": "xpu"}      # attributes of torch.version
_PLUGINS = ("torch_npu", "intel_extension_for_pytorch", "habana_frameworks.torch")     # torch loads them by itself
_PACKAGES = {"oneCCL": "oneccl"}


def torch_versions() -> dict[str, str]:
    """Versions by name, without what this torch does not have."""
    found = {"torch": str(torch.__version__)}
    found |= {name: str(built) for name, attribute in _BUILT_FOR.items()
              if (built := getattr(torch.version, attribute, None))}
    found |= {name: str(module.__version__) for name in _PLUGINS
              if (module := sys.modules.get(name)) is not None and hasattr(module, "__version__")}
    for name, package in _PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found
