"""TorchScript files -> Graph, without torch: the code in the archive is Python in a narrow form, parsed and interpreted on
symbolic tensors."""

from .archive import is_script
from .reading import read_script

__all__ = ["is_script", "read_script"]
