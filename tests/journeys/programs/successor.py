"""Build a client as the next process, log nothing, and end when stdin is closed."""

import sys

from odp_logging import OdpClient

client = OdpClient("key", api_host=sys.argv[1])
sys.stdin.read()
