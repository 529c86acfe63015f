"""What setup.cfg cannot say: all packages below src, and the templates of hub_cards/ as a package beside them."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("src"), "u2net_hf.hub_cards"])
