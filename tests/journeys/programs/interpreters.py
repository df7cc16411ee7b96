"""Log events in a sub-interpreter, and end it while its thread sends.

Argument: the URL of ODP. Prints the number of events delivered before the end, and
whether flush() returned True. Five more events are logged right before the end.
"""

import sys

CODE = """
import sys, time, warnings
# charset_normalizer supports one interpreter only; requests warns that it is missing.
warnings.simplefilter("ignore")
sys.path[:0] = %r
import shop
client = shop.open_at(%r, flush_interval=0.05, handle_sigterm=False).client
for number in range(20):
    shop.sell(number)
end = time.monotonic() + 20
while client.stats.delivered < 20 and time.monotonic() < end:
    time.sleep(0.01)
stats = client.stats
assert (stats.accepted, dict(stats.rejected)) == (20, {}), stats
print(stats.delivered, client.flush(20), flush=True)
for number in range(20, 25):
    shop.sell(number)
"""
code = CODE % (sys.path, sys.argv[1])

if sys.version_info >= (3, 14):
    from concurrent import interpreters

    interpreter = interpreters.create()
    interpreter.exec(code)
    interpreter.close()
elif sys.version_info >= (3, 13):
    import _interpreters

    interpreter = _interpreters.create()
    failed = _interpreters.run_string(interpreter, code)
    assert failed is None, failed
    _interpreters.destroy(interpreter)
else:
    import _xxsubinterpreters

    # Isolated ones allow no threads here.
    interpreter = _xxsubinterpreters.create(isolated=False)
    _xxsubinterpreters.run_string(interpreter, code)
    _xxsubinterpreters.destroy(interpreter)
