"""The carrying child, allowed to fetch from loopback: production has no setting for that."""

import sys

from image_worker import carrier

if __name__ == "__main__":
    sys.exit(carrier.main(allowed_address=lambda address: address == "127.0.0.1"))
