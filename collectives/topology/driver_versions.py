"""Versions of the accelerator drivers and runtimes of this host, from files that their installers leave."""

import os
import platform
import re
from collections.abc import Mapping

from .host_files import System

__all__ = ["driver_versions"]

_MODULES = {"nvidia": "NVIDIA driver", "amdgpu": "AMD driver", "habanalabs": "Gaudi driver"}
_ASCEND_DRIVER = "usr/local/Ascend/driver/version.info"
_ROCM = "opt/rocm/.info/version"
# Set by CANN's set_env.sh; the folders are those of an installation without it, up to CANN 8 and from CANN 8.5.
_CANN_VARIABLES = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")
_CANN_FOLDERS = ("/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/cann")


def driver_versions(system: System = System(),                                              # noqa: B008  (constants)
                    environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Versions by name, without what is not installed; drivers that belong to the kernel have none of their own."""
    found = {name: system.text(f"sys/module/{module}/version") for module, name in _MODULES.items()}
    found["Ascend driver"] = _version(system.text(_ASCEND_DRIVER))
    found["ROCm"] = system.text(_ROCM)
    found["CANN"] = next((version for folder in _cann_folders(environment) if (version := _version(system.text(
        f"{folder.lstrip('/')}/{platform.machine()}-linux/ascend_toolkit_install.info")))), None)
    return {name: version for name, version in found.items() if version}


def _cann_folders(environment: Mapping[str, str]) -> list[str]:
    return [*(environment[name] for name in _CANN_VARIABLES if environment.get(name)), *_CANN_FOLDERS]


def _version(text: str | None) -> str | None:
    """The value of a line `version=8.0.RC3`."""
    match = re.search(r"^version\s*=\s*(\S+)", text or "", re.MULTILINE | re.IGNORECASE)
    return match[1] if match else None
