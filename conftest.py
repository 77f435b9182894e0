"""For the sessions in README.md and docs/: the fence that closes a code block ends the expected output too.

Python's doctest ends expected output at an empty line only, so each block would have to close with one, which readers
would see. If a later Python keeps its pattern elsewhere, every session fails at once.
"""

import doctest
import re

_WANT = r"(?![ ]*>>>)"
_example = doctest.DocTestParser._EXAMPLE_RE
doctest.DocTestParser._EXAMPLE_RE = re.compile(_example.pattern.replace(_WANT, _WANT + r"(?![ ]*```)"), _example.flags)
