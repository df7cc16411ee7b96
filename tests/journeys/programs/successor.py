"""Be the next process: make a client, log nothing, and end when stdin does."""

import sys

from odp_logging import OdpClient

client = OdpClient("key", api_host=sys.argv[1])
sys.stdin.read()
