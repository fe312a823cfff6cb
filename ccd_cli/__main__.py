"""`python -m ccd_cli ...` is `ccd ...`; under torchrun: `torchrun --nproc-per-node 4 -m ccd_cli distill ...`."""

from ccd_cli.cli.main import main

if __name__ == "__main__":
    main()
