"""Random rows, files and jobs: never a crash, a hang or a silent loss. How to run all of them: CONTRIBUTING.md."""
