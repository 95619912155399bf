"""Print the oldest version of every dependency that setup.cfg admits, as constraints for pip."""

import configparser
import re

config = configparser.ConfigParser()
config.read("setup.cfg")
declared = [config["options"]["install_requires"], *config["options.extras_require"].values()]
floors = set(re.findall(r"^([\w-]+)>=([\d.]+)(?:;.*)?$", "\n".join(declared), flags=re.MULTILINE))
print("\n".join(f"{name}=={version}" for name, version in sorted(floors)))
