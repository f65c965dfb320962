"""`python -m proxy` is `pgseer`."""

from proxy.cli import main

if __name__ == "__main__":
    main(prog_name="pgseer")
