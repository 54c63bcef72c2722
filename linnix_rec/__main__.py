"""`python -m linnix_rec`: the same program as the script `linnix-rec`."""

from linnix_rec.cli import main

if __name__ == "__main__":
    main()
