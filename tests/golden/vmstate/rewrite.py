"""Write the golden streams anew: `python -m tests.golden.vmstate.rewrite`, from the repository.

Then read the difference. A field that appears, goes or moves in an existing section breaks the
migration between versions; new state belongs in a subsection with a new golden file.
"""

from __future__ import annotations

from tests.golden.vmstate.samples import FOLDER, SAMPLES, golden_text


def main() -> None:
    """Write every sample's file."""
    for name, sample in SAMPLES.items():
        (FOLDER / f"{name}.json").write_text(golden_text(sample))


if __name__ == "__main__":
    main()
