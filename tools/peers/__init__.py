"""The table of docs/performance.md: this project beside other engines, in one run (`make peers`)."""
