"""The program lstm-edge, also python -m lstm_edge: the command line, where the extra `cli` is installed."""

try:
    from .cli import main
except ModuleNotFoundError as why:
    missing = (why.name or "").partition(".")[0]
    if missing not in ("click", "rich"):
        raise
    raise SystemExit(
        f"error: the command line: expected the module {missing!r}, found none; pip install 'lstm-edge[cli]'"
    ) from None

if __name__ == "__main__":
    main()
