"""Has the sample recipes installed with the package; all else stands in pyproject.toml."""

from setuptools import setup
from setuptools.command.build_py import build_py


class WithSamples(build_py):
    """Copies recipes/ to surgery/samples, but for a package that is used from its working tree."""

    def run(self) -> None:
        """Build as ever, then copy."""
        super().run()
        if not self.editable_mode:
            self.copy_tree("recipes", f"{self.build_lib}/surgery/samples")


setup(cmdclass={"build_py": WithSamples})
