"""What the configuration file says, checked: one frozen value for the whole proxy.

`schema` has every key with its type, range and default; `loading` reads the file, the environment
and the command line into it; `dsn` understands libpq's connection strings.
"""

from proxy.settings.dsn import UpstreamAddress
from proxy.settings.loading import default_data_directory, load_settings
from proxy.settings.schema import Listener, MachineLearning, Settings, TlsMode, Upstream

__all__ = [
    "Listener",
    "MachineLearning",
    "Settings",
    "TlsMode",
    "Upstream",
    "UpstreamAddress",
    "default_data_directory",
    "load_settings",
]
