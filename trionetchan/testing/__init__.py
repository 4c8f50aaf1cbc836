"""For the tests of programs that use this library: exporters and importers in memory, and a network that fails as told.

No sockets, no threads and no time but trio's: everything here works with trio's autojump clock, under which an hour's
pause takes a millisecond. `import trionetchan` does not import this. Fixtures for pytest are in
`trionetchan.testing.pytest_plugin`, which is loaded by whoever names it.
"""

from ._line import Line, Way
from ._network import Network, open_network
from ._pair import open_memory_importer, open_pair

__all__ = ["Line", "Network", "Way", "open_memory_importer", "open_network", "open_pair"]
