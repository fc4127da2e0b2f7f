"""A supervisor that believes its container has 100 MB."""

import sys
from unittest.mock import patch

from image_worker import __main__, memory

if __name__ == "__main__":
    with patch.object(memory, "granted", return_value=100 << 20):
        sys.exit(__main__.main())
