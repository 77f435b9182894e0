"""Write every odd input as a file of its own, to try things on: python -m tests.odd_inputs FOLDER."""

import re
import sys
from pathlib import Path

from tests.odd_inputs import files, sequences, times


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    kinds = {
        "table": {**files.NO_TABLES, **files.DRESS, **files.NUMBERS, **files.arrow_files()},
        "series": {**times.TIMES, **times.SERIES},
        "sequences": {**sequences.TABLES, **sequences.ARRAYS},
        "tagged": sequences.TAGGED,
        "text": sequences.TEXTS,
    }
    found = {f"{kind} {name}": odd for kind, inputs in kinds.items() for name, odd in inputs.items()}
    for name, odd in found.items():
        path = folder / f"{re.sub(r'[^a-zA-Z0-9]+', '-', name)}{''.join(Path(odd.name).suffixes)}"
        path.write_bytes(odd.content)
    print(f"{len(found)} files in {folder}")


if __name__ == "__main__":
    main()
