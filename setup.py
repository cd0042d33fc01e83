"""Carries ``schema.sql`` from the top level into the wheel; everything else is in ``setup.cfg``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSchema(build_py):
    """Copies the schema beside the modules, where an installed package looks for it."""

    def run(self) -> None:
        """Build the modules, then add the schema."""
        super().run()
        if not self.editable_mode:
            shutil.copyfile("schema.sql", Path(self.build_lib) / "registry_wsgi" / "schema.sql")


setup(cmdclass={"build_py": BuildWithSchema})
