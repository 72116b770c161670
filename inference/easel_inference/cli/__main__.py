import sys

from easel_inference.cli import main

if __name__ == "__main__":
    sys.exit(main())
